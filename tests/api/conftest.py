"""The API on a real port, in front of the real Temporal and real workers; one for all tests of this folder."""

from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest

import orchestrator_migrations
from orchestrator.api import create_api, serving
from orchestrator.database import Database
from tests.api.client import ApiClient
from tests.api.program import app
from tests.bench import Bench, bench


@pytest.fixture(scope="package")
async def here(temporal_address: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """Workers, and the runs behind the API."""
    url = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('api')}/orchestrator.db"
    async with Database.open(url) as database:
        await orchestrator_migrations.upgrade(database)
    async with bench([app], temporal=temporal_address, database_url=url, engine=None) as made:
        yield made


@pytest.fixture(scope="package")
async def url(here: Bench) -> AsyncIterator[str]:
    """Where the API is."""
    api = create_api(here.runs, settings=here.settings, ping=timedelta(milliseconds=50))
    async with serving(api, "127.0.0.1", 0) as url:
        yield url


@pytest.fixture
async def client(here: Bench, url: str) -> AsyncIterator[ApiClient]:
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as http:
        yield ApiClient(http, here)
