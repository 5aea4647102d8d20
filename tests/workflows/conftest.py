"""The shipped workflows on a scripted engine, over the real Temporal; one of each for all tests of this folder."""

from collections.abc import AsyncIterator, Callable
from itertools import count

import pytest

import orchestrator_migrations
from orchestrator.database import Database
from orchestrator.testing import Script, ScriptedEngine, scripted_engine
from orchestrator_workflows import app
from tests.bench import Bench, bench
from tests.workflows.stage import Prompter, Stage

__all__ = ["Staged"]

Staged = Callable[[Script], Stage]

_tenants = count(1)


@pytest.fixture(scope="package")
def prompter() -> Prompter:
    """What the engine plays."""
    return Prompter()


@pytest.fixture(scope="package")
async def engine(prompter: Prompter, anyio_backend: str) -> AsyncIterator[ScriptedEngine]:
    async with scripted_engine(prompter) as engine:
        yield engine


@pytest.fixture(scope="package")
async def here(
    temporal_address: str, engine: ScriptedEngine, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Bench]:
    url = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('workflows')}/orchestrator.db"
    async with Database.open(url) as database:
        await orchestrator_migrations.upgrade(database)
    async with bench([app], temporal=temporal_address, database_url=url, engine=engine.url) as made:
        yield made


@pytest.fixture
def tenant() -> str:
    """The test's own."""
    return f"tenant-{next(_tenants)}"


@pytest.fixture
def staged(prompter: Prompter, engine: ScriptedEngine, here: Bench, tenant: str) -> Staged:
    """Has the engine play a script to the test's tenant."""

    def play(script: Script) -> Stage:
        prompter.plays(script)
        return Stage(here, engine, tenant, before=len(engine.requests))

    return play
