"""Workers of the program, with an engine that calls the tools that it is told to; one for all tests of this folder."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest

import orchestrator_migrations
from orchestrator.api import create_api, serving
from orchestrator.database import Database
from orchestrator.testing import CallTool, Say, ScriptedEngine, scripted_engine
from orchestrator.testing.requests import ScriptedRequest
from tests.api.client import ApiClient
from tests.bench import Bench, bench
from tests.human.program import app, strict


def _calls_what_it_is_told(request: ScriptedRequest) -> Say:
    """`[["refund", {"order": "7"}], ...]` calls tools; what they return is repeated as the answer."""
    if request.last_message.startswith("[["):
        told = json.loads(request.last_message)
        return Say(calls=tuple(CallTool(name, **arguments) for name, arguments in told))
    return Say(" | ".join(message.text for message in request.messages if message.role == "tool"))


@pytest.fixture(scope="package")
async def engine(anyio_backend: str) -> AsyncIterator[ScriptedEngine]:
    async with scripted_engine(_calls_what_it_is_told) as engine:
        yield engine


@pytest.fixture(scope="package")
async def database_address(tmp_path_factory: pytest.TempPathFactory, anyio_backend: str) -> str:
    """URL of a database that the tests share."""
    url = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('human')}/orchestrator.db"
    async with Database.open(url) as database:
        await orchestrator_migrations.upgrade(database)
    return url


@pytest.fixture(scope="package")
async def here(temporal_address: str, database_address: str, engine: ScriptedEngine) -> AsyncIterator[Bench]:
    async with bench(
        [app, strict], temporal=temporal_address, database_url=database_address, engine=engine.url
    ) as made:
        yield made


@pytest.fixture(scope="package")
async def url(here: Bench) -> AsyncIterator[str]:
    """Where the API is."""
    async with serving(create_api(here.runs, settings=here.settings), "127.0.0.1", 0) as url:
        yield url


@pytest.fixture
async def client(here: Bench, url: str) -> AsyncIterator[ApiClient]:
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as http:
        yield ApiClient(http, here)
