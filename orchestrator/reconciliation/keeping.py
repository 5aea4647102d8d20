"""The sampler at work: from time to time, beside an engine's worker."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError

from orchestrator.background import repeating
from orchestrator.errors import OrchestratorError
from orchestrator.reconciliation.sampling import Sampler

__all__ = ["sampling"]

logger = logging.getLogger(__name__)

EVERY = timedelta(seconds=30)


@asynccontextmanager
async def sampling(sampler: Sampler, *, every: timedelta = EVERY) -> AsyncGenerator[None]:
    """Writes down what a server has counted: now, from time to time while the body runs, and at its end.

    A sample that fails is logged: what is between two samples is compared as one, however far apart they are.
    """

    async def sample() -> None:
        try:
            await sampler.sample()
        except (OrchestratorError, SQLAlchemyError, ConnectionError) as error:
            logger.warning("an engine's counters couldn't be written down: %s", error)

    await sample()
    async with repeating("write down an engine's counters", sample, every=every):
        yield
    await sample()
