"""A web site on loopback that answers what it is told, to the byte."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

__all__ = ["Answer", "Site", "answer", "site"]

Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(kw_only=True)
class Site:
    port: int
    requests: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    """The header fields of each request, and its path as `path`."""
    names: list[str | None] = field(default_factory=list[str | None])
    """Whom each TLS client wanted to speak to."""

    @property
    def paths(self) -> Sequence[str]:
        return [request["path"] for request in self.requests]


def answer(
    body: bytes | str = b"", *, status: str = "200 OK", kind: str | None = "text/plain; charset=utf-8", **fields: str
) -> bytes:
    """A whole HTTP response."""
    content = body.encode() if isinstance(body, str) else body
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    if kind is not None:
        named["content-type"] = kind
    head = "".join(f"{name}: {value}\r\n" for name, value in {"content-length": str(len(content)), **named}.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + content


@asynccontextmanager
async def site(
    answers: Mapping[str, Answer], *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncGenerator[Site]:
    """Answers each path as it is told, and any other with 404, while the body runs."""
    up = Site(port=0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            path = lines[0].split(" ")[1]
            fields = [line.partition(": ") for line in lines[1:] if line]
            up.requests.append({"path": path, **{name.lower(): value for name, _, value in fields}})
            found = answers.get(path, answer("not here", status="404 Not Found"))
            if isinstance(found, bytes):
                writer.write(found)
                await writer.drain()
            else:
                await found(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has seen enough
        finally:
            writer.close()

    def named(_socket: object, name: str | None, _context: object) -> None:
        up.names.append(name)

    if tls is not None:
        tls.set_servername_callback(named)
    server = await asyncio.start_server(serve, host, port, ssl=tls)
    up.port = server.sockets[0].getsockname()[1]
    async with server:
        yield up
