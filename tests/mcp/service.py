"""The ticket server as a service on loopback, which wants a token."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from tests.mcp.conftest import TOKEN
from tests.mcp.tickets import ticket_server

__all__ = ["Service", "service"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(kw_only=True)
class Service:
    """A running service."""

    url: str
    methods: list[str] = field(default_factory=list[str])
    """Of MCP, as they came."""


@asynccontextmanager
async def service(*, port: int = 0, legacy: bool = False) -> AsyncGenerator[Service]:
    """Serves tickets until the end of the body.

    Args:
        port: a free one by default.
        legacy: whether it speaks only versions of the protocol that have sessions.
    """
    tickets = ticket_server().streamable_http_app()
    with socket.create_server(("127.0.0.1", port)) as listening:
        made = Service(url=f"http://127.0.0.1:{listening.getsockname()[1]}/mcp")

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await tickets(scope, receive, send)
                return
            if dict(scope["headers"]).get(b"authorization") != f"Bearer {TOKEN}".encode():
                await _answer(send, 401, {"error": "unauthorized"})
                return
            message = await receive()
            body = json.loads(message.get("body") or b"{}")
            made.methods.append(body.get("method", scope["method"]))
            if legacy and body.get("method") == "server/discover":
                error = {"code": -32601, "message": "Method not found"}
                await _answer(send, 200, {"jsonrpc": "2.0", "id": body["id"], "error": error})
                return
            waiting = [message]

            async def again() -> MutableMapping[str, Any]:
                return waiting.pop() if waiting else await receive()

            await tickets(scope, again, send)

        config = uvicorn.Config(guarded, log_level="warning", lifespan="on", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        # No task group: it would cancel the server in the middle of its end where the test fails.
        serving = asyncio.create_task(server.serve([listening]))
        try:
            yield made
        finally:
            server.should_exit = True
            await serving


async def _answer(send: Send, status: int, body: object) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})
