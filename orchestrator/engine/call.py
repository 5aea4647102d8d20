"""One request to an engine, run to its end or aborted with its bill known."""

import asyncio
import time
from contextlib import suppress
from datetime import timedelta

import anyio

from orchestrator.engine.sglang import EngineRequest, Generation, SGLang
from orchestrator.errors import EngineError, EngineOverloaded, EngineRejected, EngineUnavailable

__all__ = ["EngineCall"]

ABORT_PATIENCE = timedelta(seconds=5)
ABORT_AGAIN = timedelta(milliseconds=250)
"""An abort that overtakes its own request is ignored by the engine, so it is said again until the stream ends."""

GATEWAYS = frozenset({502, 504})
"""Errors of a gateway in front of the engine, which doesn't know what the engine did."""


class EngineCall:
    """Keeps what was made so far, whatever becomes of the request."""

    def __init__(self, engine: SGLang, request: EngineRequest) -> None:
        self._engine = engine
        self._request = request
        self.generation = Generation()
        self.first_token: timedelta | None = None
        """From the request to the first token that came back."""
        self._refused = False

    @property
    def confirmed(self) -> bool:
        """Whether the engine itself has said how many tokens it made: in its last chunk, or by refusing to begin.

        A stream that broke off told of some tokens or none; the engine may have made more.
        """
        return self._refused or self.generation.finish is not None

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
        began = time.monotonic()
        try:
            async for generation in self._engine.generate(self._request):
                self.generation = generation
                if self.first_token is None and generation.ids:
                    self.first_token = timedelta(seconds=time.monotonic() - began)
        except EngineError as error:
            self._refused = self.generation.usage.output is None and _is_refusal(error)
            raise

    async def _abort(self, reader: "asyncio.Task[None]") -> None:
        with anyio.move_on_after(ABORT_PATIENCE.total_seconds(), shield=True), suppress(EngineError):
            while not reader.done():
                await self._engine.abort(self._request.rid)
                await asyncio.wait([reader], timeout=ABORT_AGAIN.total_seconds())
        if reader.done():
            reader.exception()  # seen: what is to be known of it is in `confirmed`
        reader.cancel()


def _is_refusal(error: EngineError) -> bool:
    """Whether an error says that the engine did nothing."""
    match error:
        case EngineOverloaded() | EngineRejected():
            return error.code not in GATEWAYS
        case EngineUnavailable():
            return not error.reached
        case _:
            return False
