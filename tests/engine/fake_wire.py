"""An engine whose every answer is written out in the test, behind the real client."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx

from orchestrator.engine import EngineRequest, SGLang
from orchestrator.steps import Sampling

__all__ = ["REQUEST", "Chunks", "chunk", "speaking_to"]

REQUEST = EngineRequest(rid="0" * 32, ids=[1, 2, 3], sampling=Sampling(max_tokens=64))

Answer = Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]]


def chunk(text: str, ids: Sequence[int], *, made: int | None = None, **meta: object) -> dict[str, Any]:
    """One chunk of a stream, as SGLang writes it."""
    told = {"completion_tokens": len(ids) if made is None else made, "finish_reason": None, **meta}
    return {"text": text, "output_ids": list(ids), "meta_info": told}


class Chunks(httpx.AsyncByteStream):
    """A stream of server-sent events that goes on, or ends, when the test says so."""

    def __init__(self, *first: Mapping[str, Any]) -> None:
        self._chunks: asyncio.Queue[Mapping[str, Any] | None] = asyncio.Queue()
        self.closed = asyncio.Event()
        for each in first:
            self.send(each)

    def send(self, each: Mapping[str, Any]) -> None:
        self._chunks.put_nowait(each)

    def end(self) -> None:
        self._chunks.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (each := await self._chunks.get()) is not None:
            yield f"data: {json.dumps(each)}\n\n".encode()
        yield b"data: [DONE]\n\n"

    async def aclose(self) -> None:
        self.closed.set()


@asynccontextmanager
async def speaking_to(answer: Answer) -> AsyncGenerator[SGLang]:
    """The client, with `answer` in the server's place."""

    async def respond(request: httpx.Request) -> httpx.Response:
        answered = answer(request)
        return answered if isinstance(answered, httpx.Response) else await answered

    async with httpx.AsyncClient(base_url="http://engine:1", transport=httpx.MockTransport(respond)) as http:
        yield SGLang(http)
