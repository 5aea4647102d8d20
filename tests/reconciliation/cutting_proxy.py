"""A proxy before an engine that breaks off some answers in the middle, as networks and killed workers do."""

import asyncio
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

__all__ = ["cutting"]

ENOUGH = 2500
"""Bytes of an answer, after which its connection is cut: some tokens."""


@asynccontextmanager
async def cutting(upstream: str, calls: Collection[int]) -> AsyncGenerator[str]:
    """URL of a proxy that cuts off these calls of `/generate`, of which the first is 1."""
    target = urlsplit(upstream)
    asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        there, back = await asyncio.open_connection(target.hostname, target.port)
        room: int | None = None

        async def forth() -> None:
            nonlocal asked, room
            while data := await reader.read(65536):
                if data.startswith(b"POST /generate"):
                    asked += 1
                    room = ENOUGH if asked in calls else None
                back.write(data)
                await back.drain()

        async def answer() -> None:
            nonlocal room
            while data := await there.read(1024):
                writer.write(data)
                await writer.drain()
                if room is not None:
                    room -= len(data)
                    if room <= 0:
                        return

        directions = [asyncio.create_task(forth()), asyncio.create_task(answer())]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            with suppress(OSError, asyncio.CancelledError):
                await asyncio.gather(*directions, return_exceptions=True)
            back.transport.abort()
            writer.transport.abort()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
