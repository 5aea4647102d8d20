"""One request to an engine, followed to its end or aborted with its bill known."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Self

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
    """A request that is sent when the context is entered.

    Keeps what was made so far, whatever becomes of the request. A context that is left before the answer's end, by a
    cancellation too, aborts the request and waits until the engine's last chunk confirms it.
    """

    def __init__(self, engine: SGLang, request: EngineRequest) -> None:
        self._engine = engine
        self._request = request
        self._reader: asyncio.Task[None] | None = None
        self._grown = asyncio.Event()
        self.generation = Generation()
        self.first_token: timedelta | None = None
        """From the request to the first token that came back."""
        self._refused = False

    async def __aenter__(self) -> Self:
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.abort()

    @property
    def confirmed(self) -> bool:
        """Whether the engine itself has said how many tokens it made: in its last chunk, or by refusing to begin.

        A stream that broke off told of some tokens or none; the engine may have made more.
        """
        return self._refused or self.generation.finish is not None

    async def follow(self) -> AsyncGenerator[Generation]:
        """The answer each time that it has grown, and at its end.

        Raises:
            EngineError: see `SGLang.generate`.
        """
        assert self._reader is not None
        while not self._reader.done():
            await self._grown.wait()
            self._grown.clear()
            yield self.generation
        self._reader.result()

    async def finished(self) -> Generation:
        """The whole answer.

        Raises:
            EngineError: see `SGLang.generate`.
        """
        async for _ in self.follow():
            pass
        return self.generation

    async def abort(self) -> None:
        """Ends the request, unless it has ended, and waits until the engine has confirmed it."""
        reader = self._reader
        assert reader is not None
        with anyio.move_on_after(ABORT_PATIENCE.total_seconds(), shield=True), suppress(EngineError):
            while not reader.done():
                await self._engine.abort(self._request.rid)
                await asyncio.wait([reader], timeout=ABORT_AGAIN.total_seconds())
        if reader.done() and not reader.cancelled():
            reader.exception()  # seen: what is to be known of it is in `confirmed`
        reader.cancel()

    async def _read(self) -> None:
        began = time.monotonic()
        try:
            async for generation in self._engine.generate(self._request):
                self.generation = generation
                if self.first_token is None and (generation.ids or generation.text or generation.calls):
                    self.first_token = timedelta(seconds=time.monotonic() - began)
                self._grown.set()
        except EngineError as error:
            self._refused = self.generation.usage.output is None and _is_refusal(error)
            raise
        finally:
            self._grown.set()


def _is_refusal(error: EngineError) -> bool:
    """Whether an error says that the engine did nothing."""
    match error:
        case EngineOverloaded() | EngineRejected():
            return error.code not in GATEWAYS
        case EngineUnavailable():
            return not error.reached
        case _:
            return False
