"""The API on a port, inside the loop that runs already: `orchestrator dev` and `orchestrator serve` hold it."""

import errno
import socket
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
from starlette.types import ASGIApp
from uvicorn import Config, Server

from orchestrator.api.shutdown import Shutdown
from orchestrator.errors import ConfigurationError

__all__ = ["serving"]

DEFAULT_PORTS = (*range(8000, 8100), 0)
"""Tried in turn where the operator names none."""

GRACE = 2
"""Seconds that requests have to finish when the server stops."""

_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to reach a server that listens everywhere


@asynccontextmanager
async def serving(api: ASGIApp, host: str, port: int | None) -> AsyncGenerator[str]:
    """Serves an API while the body runs; gives its URL, without a slash at the end, once it accepts connections.

    Takes no signals: whoever holds it decides when it ends. Then event streams end at once, and other requests have
    two seconds.

    Args:
        port: 0 for a free one, `None` for 8000 or the next free one.

    Raises:
        ConfigurationError: it can't listen there.
    """
    listener = await _listen(host, DEFAULT_PORTS if port is None else (port,))
    shutdown = Shutdown()
    server = _Server(
        Config(
            shutdown.announced_to(api),
            interface="asgi3",
            log_config=None,  # logging is the process's, not the server's
            access_log=False,
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=GRACE,
        )
    )

    async def serve() -> None:
        # Where the body is cancelled, as by Ctrl-C, the server still stops in good order.
        with anyio.CancelScope(shield=True):
            await server.serve([listener])

    with listener:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            try:
                await server.accepting.wait()
                yield _url(host, listener)
            finally:
                shutdown.begin()
                server.should_exit = True


class _Server(Server):
    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.accepting = anyio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.accepting.set()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def _listen(host: str, ports: Sequence[int]) -> socket.socket:
    try:
        infos = await anyio.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = infos[0]
        return _first_bound(family, address, ports)
    except OSError as error:
        raise ConfigurationError(
            f"the API can't listen on {host}:{ports[0]} ({error.strerror})",
            remedy="Set ORCHESTRATOR_API__HOST and ORCHESTRATOR_API__PORT to what is free",
        ) from error


def _first_bound(family: int, address: tuple[Any, ...], ports: Sequence[int]) -> socket.socket:
    """A socket on the first of the ports that isn't in use."""
    *others, last = ports
    for port in others:
        try:
            return _bound(family, address, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    return _bound(family, address, last)


def _bound(family: int, address: tuple[Any, ...], port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        host, _, *rest = address
        listener.bind((host, port, *rest))
        listener.listen()  # two that are only bound may share a port
    except OSError:
        listener.close()
        raise
    return listener


def _url(host: str, listener: socket.socket) -> str:
    name = _LOOPBACK.get(host, host)
    return f"http://{f'[{name}]' if ':' in name else name}:{listener.getsockname()[1]}"
