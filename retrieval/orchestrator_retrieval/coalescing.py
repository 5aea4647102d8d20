"""Gathers concurrent calls into one batch. Knows nothing of retrieval."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Generic, TypeVar

import anyio

__all__ = ["Coalescer"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Batch(Generic[Item, Result]):
    def __init__(self) -> None:
        self.items: list[Item] = []
        self.full = anyio.Event()
        self.done = anyio.Event()
        self.results: Sequence[Result] | None = None
        self.error: Exception | None = None


class Coalescer(Generic[Item, Result]):
    """Runs `run` on batches of what is submitted at about the same time; one batch runs at a time.

    A batch stays open for `window` after its first item, while the batch before it runs, and until it has `most` items.
    The task that brought the first item runs it. Should that task be cancelled, the others submit anew.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        window: timedelta,
        most: int,
    ) -> None:
        self._run, self._window, self._most = run, window, most
        self._open: _Batch[Item, Result] | None = None
        self._running = anyio.Lock()

    async def submit(self, item: Item) -> Result:
        """The result for one item. An error of the batch is raised for each of its items."""
        while True:
            batch = self._open
            leads = batch is None
            if batch is None:
                batch = self._open = _Batch[Item, Result]()
            place = len(batch.items)
            batch.items.append(item)
            if len(batch.items) == self._most:
                self._open = None
                batch.full.set()
            if leads:
                await self._lead(batch)
            else:
                await batch.done.wait()
            if batch.error is not None:
                raise batch.error
            if batch.results is not None:
                return batch.results[place]

    async def _lead(self, batch: _Batch[Item, Result]) -> None:
        try:
            with anyio.move_on_after(self._window.total_seconds()):
                await batch.full.wait()
            async with self._running:
                self._close(batch)
                batch.results = await self._run(batch.items)
        except Exception as error:
            batch.error = error
        finally:
            self._close(batch)
            batch.done.set()

    def _close(self, batch: _Batch[Item, Result]) -> None:
        if self._open is batch:
            self._open = None
