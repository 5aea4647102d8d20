"""Waiting for what comes about by itself."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import anyio

__all__ = ["eventually"]

EVERY = timedelta(milliseconds=50)


async def eventually(condition: Callable[[], Awaitable[bool]], *, within: timedelta = timedelta(seconds=60)) -> None:
    """Returns once the condition holds.

    Raises:
        TimeoutError: it doesn't within that time.
    """
    with anyio.fail_after(within.total_seconds()):
        while not await condition():  # noqa: ASYNC110
            await anyio.sleep(EVERY.total_seconds())
