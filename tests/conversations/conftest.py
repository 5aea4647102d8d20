"""Workers of the program, with an engine whose script each test writes; one for all tests of this folder."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

import pytest

import orchestrator_migrations
from orchestrator.database import Database
from orchestrator.testing import Reply, Say, ScriptedEngine, ScriptedRequest, scripted_engine
from orchestrator.testing.requests import RequestRecord
from tests.bench import Bench, bench
from tests.conversations.program import app, imposing
from tests.eventually import eventually


class Stage:
    """The engine, as one test sees it."""

    def __init__(self) -> None:
        self._script: Callable[[ScriptedRequest], Reply] = lambda _: Say("yes")
        self._engine: ScriptedEngine | None = None
        self._begin = 0

    def plays(self, script: Callable[[ScriptedRequest], Reply] | Iterable[Reply]) -> None:
        """What the model says from now on."""
        if not callable(script):
            replies = iter(tuple(script))
            script = lambda _: next(replies)  # noqa: E731
        self._script = script

    @property
    def requests(self) -> Sequence[RequestRecord]:
        """What the engine was asked in this test."""
        assert self._engine is not None
        return self._engine.requests[self._begin :]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits for something that the engine is asked, or makes."""

        async def holds() -> bool:
            return condition()

        await eventually(holds)

    def opened(self, engine: ScriptedEngine) -> None:
        self._engine = engine

    def cleared(self) -> "Stage":
        assert self._engine is not None
        self._begin = len(self._engine.requests)
        return self

    def reply(self, request: ScriptedRequest) -> Reply:
        return self._script(request)


@pytest.fixture(scope="package")
async def opened_stage(anyio_backend: str) -> AsyncIterator[tuple[Stage, str]]:
    stage = Stage()
    async with scripted_engine(stage.reply, vision=True) as engine:
        stage.opened(engine)
        yield stage, engine.url


@pytest.fixture
def stage(opened_stage: tuple[Stage, str]) -> Stage:
    return opened_stage[0].cleared()


@pytest.fixture(scope="package")
async def here(
    temporal_address: str, opened_stage: tuple[Stage, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Bench]:
    url = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('conversations')}/orchestrator.db"
    async with Database.open(url) as database:
        await orchestrator_migrations.upgrade(database)
    apps: list[Any] = [app, imposing]
    async with bench(apps, temporal=temporal_address, database_url=url, engine=opened_stage[1]) as made:
        yield made
