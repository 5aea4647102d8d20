"""What a process does from time to time beside its work."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

__all__ = ["repeating"]

logger = logging.getLogger(__name__)


@asynccontextmanager
async def repeating(what: str, do: Callable[[], Awaitable[None]], *, every: timedelta) -> AsyncGenerator[None]:
    """Does something again and again while the body runs, each time so long after the last one ended.

    A time that fails is logged, and there is a next one: the database, Temporal or an engine may be away for a while.

    Args:
        what: names it in the log, as in "couldn't sweep the ledger".
    """

    async def repeat() -> None:
        while True:
            await asyncio.sleep(every.total_seconds())
            try:
                await do()
            except Exception:  # whatever it raises, the next time may do better
                logger.warning("couldn't %s", what, exc_info=True)

    task = asyncio.create_task(repeat())  # a task group would wrap what the body raises
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
