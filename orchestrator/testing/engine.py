"""The scripted engine as a test holds it: a real HTTP server on loopback, in the test's own process.

Runs on asyncio, as uvicorn does.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from starlette.types import ASGIApp, Scope
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from orchestrator.errors import DefinitionError
from orchestrator.testing.recording import Recorder
from orchestrator.testing.replies import Script
from orchestrator.testing.requests import RequestRecord, Served
from orchestrator.testing.scheduler import Scheduler
from orchestrator.testing.server import Endpoints

__all__ = ["ScriptedEngine", "scripted_engine"]

PATIENCE = timedelta(seconds=30)


class ScriptedEngine:
    """Plays a script to whoever asks; remembers what was asked and what it served."""

    def __init__(self, scheduler: Scheduler, *, url: str, model: str) -> None:
        self._scheduler = scheduler
        self.url = url
        """Without a slash at its end."""
        self.model = model

    def __repr__(self) -> str:
        return f"ScriptedEngine(url={self.url!r}, model={self.model!r})"

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """Every answer asked for so far, in the order in which they came, those refused among them."""
        return tuple(generation.record for generation in self._scheduler.generations)

    @property
    def served(self) -> Served:
        """Tokens computed so far: the ground truth for a test of accounts."""
        return self._scheduler.served

    def release(self) -> int:
        """Let every request go on that is held (`Say(hold_after_tokens=)`). Returns how many there were.

        Raises:
            DefinitionError: none is held, so the test would wait for ever for one that is held later.
        """
        if not self._scheduler.held:
            raise DefinitionError(
                "release()", problem="no request is held", remedy="Await engine.wait_until_held() first"
            )
        return self._scheduler.release()

    async def wait_for_requests(self, count: int, *, timeout: timedelta = PATIENCE) -> None:
        """Wait until the engine was asked `count` times in all.

        Raises:
            TimeoutError: it wasn't.
        """
        asked = self._scheduler.generations
        await self._scheduler.wait_until(lambda: len(asked) >= count, f"{count} requests", timeout)

    async def wait_until_held(self, count: int = 1, *, timeout: timedelta = PATIENCE) -> None:
        """Wait until `count` requests are held at the same time.

        Raises:
            TimeoutError: they aren't.
        """
        await self._scheduler.wait_until(lambda: self._scheduler.held >= count, f"{count} held requests", timeout)

    async def wait_until_idle(self, *, timeout: timedelta = PATIENCE) -> None:
        """Wait until no request runs or waits.

        Raises:
            TimeoutError: some still do.
        """
        scheduler = self._scheduler
        await scheduler.wait_until(lambda: not (scheduler.running or scheduler.waiting), "the end of all", timeout)


@asynccontextmanager
async def scripted_engine(
    script: Script,
    *,
    model: str = "scripted",
    context_length: int = 262_144,
    tool_call_parser: str | None = "qwen25",
    reasoning_parser: str | None = None,
    vision: bool = False,
    port: int = 0,
    facts: Path | None = None,
    facts_of_disconnected: bool = True,
) -> AsyncGenerator[ScriptedEngine]:
    """Serve `script` on 127.0.0.1, at a free port by default, until the block ends.

    ```python
    async with scripted_engine([Say("hello"), Fail(status=503, retry_after=1)]) as engine:
        ...  # anything that speaks to an SGLang server, pointed at engine.url
        assert engine.requests[0].finish == "stop"
    ```

    Args:
        vision: whether its model sees pictures.
        facts: folder in which it records the requests that are over, as SGLang's servers do
            (`orchestrator.engine.facts` reads it); by default it doesn't.
        facts_of_disconnected: whether those are recorded whose client went away, as by a server with
            `--enable-request-time-stats-logging`. Without that flag, SGLang doesn't.
    """
    listener = _Listener()
    scheduler = Scheduler(script, context_length=context_length, reasoning_parser=reasoning_parser, cut=listener.cut)
    endpoints = Endpoints(scheduler, model=model, tool_call_parser=tool_call_parser, vision=vision)
    async with listener.listening(endpoints.app(), port) as bound:
        if facts is not None:
            scheduler.recorder = Recorder(facts, port=bound, of_disconnected=facts_of_disconnected)
        yield ScriptedEngine(scheduler, url=f"http://127.0.0.1:{bound}", model=model)


class _Listener:
    """uvicorn's protocol without its server, which would take the process's signals and tenths of seconds to stop."""

    def __init__(self) -> None:
        self._state = ServerState()

    @asynccontextmanager
    async def listening(self, app: ASGIApp, port: int) -> AsyncGenerator[int]:
        """Serve `app`; gives the port."""
        config = Config(app, log_config=None, access_log=False, lifespan="off", ws="none", timeout_keep_alive=600)
        config.load()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: H11Protocol(config=config, server_state=self._state, app_state={}), "127.0.0.1", port
        )
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for connection in list(self._state.connections):
                connection.transport.abort()
            # Every connection is gone, so each request that still runs ends as disconnected.
            if tasks := list(self._state.tasks):
                await asyncio.wait(tasks)
            await server.wait_closed()

    def cut(self, scope: Scope) -> None:
        """Close the connection of this request, after what was already sent."""
        for connection in list(self._state.connections):
            if isinstance(connection, H11Protocol) and connection.client == scope["client"]:
                connection.transport.close()
