"""How bytes get to a server and back: the SDK's transports, with what the orchestrator asks beyond them.

A program runs under `orchestrator/keeper.py`, so that it and all that it starts end with the worker, also where that is
killed with -9. Its end is told at once, not when the next call fails.
"""

import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
import httpx2
from mcp import StdioServerParameters
from mcp.client._transport import ReadStream, TransportStreams
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage

from orchestrator.mcp.secrets import Secrets
from orchestrator.mcp.stderr import Stderr

__all__ = ["program", "service"]

KEEPER = Path(__file__).parents[1] / "keeper.py"
GRACE = 1.0
"""Seconds that a program has once its input ended; the SDK waits two before it sends SIGTERM."""
HTTP_PATIENCE = 30.0
"""Seconds until a service must take a request; how long an answer may take is bounded for each call."""


@asynccontextmanager
async def program(
    command: Sequence[str], secrets: Secrets, stderr: Stderr, on_end: Callable[[], None]
) -> AsyncGenerator[TransportStreams]:
    """Starts a program that speaks MCP.

    Args:
        on_end: called when it closes its output, at the latest when it ends.
    """
    kept = ["-I", str(KEEPER), "--give-input", str(os.getpid()), str(GRACE), *command]
    parameters = StdioServerParameters(command=sys.executable, args=kept, env=secrets.env)
    async with AsyncExitStack() as stack:
        stack.callback(stderr.close)
        with stderr.opened() as file:
            reading, writing = await stack.enter_async_context(stdio_client(parameters, errlog=file))
        yield _Noticed(reading, on_end), writing


@asynccontextmanager
async def service(
    url: str, secrets: Secrets, on_answer: Callable[[httpx2.Response], Awaitable[None]]
) -> AsyncGenerator[TransportStreams]:
    """Reaches a service that speaks MCP over streamable HTTP.

    Args:
        on_answer: told of each answer before the SDK, which says nothing of its status.
    """
    timeout = httpx2.Timeout(HTTP_PATIENCE, read=None)
    async with (
        httpx2.AsyncClient(headers=secrets.headers, timeout=timeout, event_hooks={"response": [on_answer]}) as http,
        streamable_http_client(url, http_client=http) as streams,
    ):
        yield streams


class _Noticed:
    """A stream whose end is told."""

    def __init__(self, stream: ReadStream[SessionMessage | Exception], on_end: Callable[[], None]) -> None:
        self._stream = stream
        self._on_end = on_end

    async def receive(self) -> SessionMessage | Exception:
        return await self._stream.receive()

    async def aclose(self) -> None:
        await self._stream.aclose()

    def __aiter__(self) -> "_Noticed":
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self._stream.__anext__()
        except (StopAsyncIteration, anyio.ClosedResourceError):
            self._on_end()
            raise

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> bool | None:
        return await self._stream.__aexit__(exc_type, exc_val, exc_tb)
