"""One request to an engine, run to its end or aborted with its bill known."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import anyio

from orchestrator.engine.sglang import EngineRequest, Generation, SGLang
from orchestrator.errors import EngineError

__all__ = ["EngineCall"]

ABORT_PATIENCE = timedelta(seconds=5)
ABORT_AGAIN = timedelta(milliseconds=250)
"""An abort that overtakes its own request is ignored by the engine, so it is said again until the stream ends."""


class EngineCall:
    """Keeps what was made so far, whatever becomes of the request."""

    def __init__(self, engine: SGLang, request: EngineRequest) -> None:
        self._engine = engine
        self._request = request
        self.generation = Generation()
        self._abort_answered = True

    @property
    def confirmed(self) -> bool:
        """Whether the engine itself has said how many tokens it made: in its last chunk, or by refusing to begin.

        A stream that broke off told of some tokens; the engine may have made more.
        """
        generation = self.generation
        return self._abort_answered and (generation.finish is not None or generation.usage.output is None)

    async def run(self) -> Generation:
        """The whole answer.

        When cancelled, aborts the request and waits until the engine's last chunk confirms it; only then is the
        cancellation passed on.

        Raises:
            EngineError: see `SGLang.generate`.
        """
        reader = asyncio.create_task(self._read())
        try:
            await asyncio.shield(reader)
        except asyncio.CancelledError:
            await self._abort(reader)
            raise
        return self.generation

    async def _read(self) -> None:
        async for generation in self._engine.generate(self._request):
            self.generation = generation

    async def _abort(self, reader: "asyncio.Task[None]") -> None:
        with anyio.move_on_after(ABORT_PATIENCE.total_seconds(), shield=True), suppress(EngineError):
            while not reader.done():
                await self._engine.abort(self._request.rid)
                await asyncio.wait([reader], timeout=ABORT_AGAIN.total_seconds())
        self._abort_answered = reader.done() and reader.exception() is None
        reader.cancel()
