"""Many items at once, but not too many: bounded concurrency in a workflow.

Deterministic: asyncio over an ordered list.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

__all__ = ["in_parallel"]

InT = TypeVar("InT")
OutT = TypeVar("OutT")


async def in_parallel(
    function: Callable[[InT], Awaitable[OutT]], items: Sequence[InT], parallel: int
) -> Sequence[OutT]:
    """The results in the order of the items; at the first failure, what runs is cancelled and waited for."""
    places = asyncio.Semaphore(parallel)

    async def one(item: InT) -> OutT:
        async with places:
            return await function(item)

    tasks = [asyncio.ensure_future(one(item)) for item in items]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
