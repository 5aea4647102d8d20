"""Attribution at work: from time to time, beside a worker."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from orchestrator.attribution.provisional import Provisional
from orchestrator.attribution.windows import Attribution
from orchestrator.database import Database

__all__ = ["attributing"]

logger = logging.getLogger(__name__)

EVERY = timedelta(seconds=20)


@asynccontextmanager
async def attributing(
    database: Database, attribution: Attribution, estimates: Sequence[Provisional] = (), *, every: timedelta = EVERY
) -> AsyncGenerator[None]:
    """Makes windows final from time to time while the body runs; one time that fails is logged, and tried again.

    Args:
        estimates: what learns from each window that became final.
    """

    async def advance() -> None:
        while True:
            try:
                advanced = await attribution.advance()
                for estimate in estimates:
                    await estimate.refresh(database)
            except Exception:  # the database is away: what isn't final stays so until it is back
                logger.warning("GPU time couldn't be attributed", exc_info=True)
            else:
                if advanced.windows or advanced.corrections:
                    logger.info("attributed GPU time: %s", advanced)
            await asyncio.sleep(every.total_seconds())

    task = asyncio.create_task(advance())  # a task group would wrap what the body raises
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
