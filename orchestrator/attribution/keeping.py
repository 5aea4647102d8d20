"""Attribution at work: from time to time, beside a worker."""

import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

from orchestrator.attribution.provisional import Provisional
from orchestrator.attribution.windows import Attribution
from orchestrator.background import repeating
from orchestrator.database import Database

__all__ = ["attributing"]

logger = logging.getLogger(__name__)

EVERY = timedelta(seconds=20)


def attributing(
    database: Database, attribution: Attribution, estimates: Sequence[Provisional] = (), *, every: timedelta = EVERY
) -> AbstractAsyncContextManager[None]:
    """Makes windows final from time to time while the body runs.

    Args:
        estimates: what learns from each window that became final.
    """

    async def advance() -> None:
        advanced = await attribution.advance()
        for estimate in estimates:
            await estimate.refresh(database)
        if advanced.windows or advanced.corrections:
            logger.info("attributed GPU time: %s", advanced)

    return repeating("attribute GPU time", advance, every=every)
