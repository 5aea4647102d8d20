import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import pytest
from anyio.abc import SocketAttribute, SocketStream
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RetryConfig

from orchestrator.api import create_api, serving
from orchestrator.database import Database
from orchestrator.runs import Runs
from orchestrator.settings import Settings
from tests.api.client import ApiClient, Event
from tests.api.program import app
from tests.bench import Bench

NOBODY = "127.0.0.1:1"


@asynccontextmanager
async def temporal_that_goes_away(address: str) -> AsyncGenerator[tuple[Client, Callable[[], None]]]:
    """A client of the real Temporal, and what cuts the wire between them for good."""
    host, _, port = address.rpartition(":")

    async def relay(near: SocketStream) -> None:
        async with near, await anyio.connect_tcp(host, int(port)) as far, anyio.create_task_group() as both:
            both.start_soon(copy, near, far)
            both.start_soon(copy, far, near)

    async def copy(source: SocketStream, target: SocketStream) -> None:
        async for chunk in source:
            await target.send(chunk)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    near_address = f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
    wire = anyio.CancelScope()

    async def hold() -> None:
        with wire:
            async with listener:
                await listener.serve(relay)

    async with anyio.create_task_group() as holding:
        holding.start_soon(hold)
        try:
            yield (
                await Client.connect(
                    near_address, data_converter=pydantic_data_converter, retry_config=RetryConfig(max_retries=1)
                ),
                wire.cancel,
            )
        finally:
            wire.cancel()


async def get(runs: Runs, path: str) -> httpx.Response:
    async with (
        serving(create_api(runs, settings=Settings()), "127.0.0.1", 0) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as http,
    ):
        return await http.get(path)


async def test_all_is_well(client: ApiClient) -> None:
    assert (await client.http.get("/healthz")).json() == {"status": "up"}
    assert (await client.http.get("/readyz")).json() == {"status": "ready"}


async def test_without_temporal_the_api_is_not_ready(here: Bench, temporal_address: str) -> None:
    async with temporal_that_goes_away(temporal_address) as (client, cut):
        runs = Runs(client, here.database, [app])
        assert await runs.unreachable() == []
        cut()
        response = await get(runs, "/readyz")
    assert (response.status_code, response.json()["unreachable"]) == (503, ["temporal"])
    assert response.json()["type"] == "/problems/not-ready"


async def test_without_the_database_the_api_is_not_ready(here: Bench) -> None:
    async with Database.open(f"postgresql://nobody@{NOBODY}/none") as database:
        response = await get(Runs(here.client, database, [app]), "/readyz")
    assert (response.status_code, response.json()["unreachable"]) == (503, ["database"])
    assert "database can't be reached" in response.json()["detail"]


async def test_a_process_without_its_servers_is_up(temporal_address: str) -> None:
    async with (
        Database.open(f"postgresql://nobody@{NOBODY}/none") as database,
        temporal_that_goes_away(temporal_address) as (client, cut),
    ):
        cut()
        runs = Runs(client, database, [app])
        assert (await get(runs, "/healthz")).status_code == 200
        assert (await get(runs, "/readyz")).json()["unreachable"] == ["database", "temporal"]


async def test_a_request_that_needs_temporal_says_that_it_is_away(here: Bench, temporal_address: str) -> None:
    async with temporal_that_goes_away(temporal_address) as (client, cut):
        cut()
        response = await get(Runs(client, here.database, [app]), "/v1/runs/some")
    assert (response.status_code, response.json()["type"]) == (503, "/problems/temporal-unavailable")
    assert "127.0.0.1" not in response.text


async def test_a_stream_ends_when_temporal_goes_away_and_is_resumed(
    client: ApiClient, here: Bench, temporal_address: str
) -> None:
    run_id = await client.started("wait_long", 1)
    before: list[Event] = []
    async with temporal_that_goes_away(temporal_address) as (temporal, cut):
        api = create_api(Runs(temporal, here.database, [app]), settings=here.settings)
        async with (
            serving(api, "127.0.0.1", 0) as url,
            httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as http,
        ):
            async for event in ApiClient(http, here).events(run_id):
                before.append(event)
                if len(before) == 3:
                    cut()
    assert [kind for _, kind, _ in before] == ["run.started", "step.started", "step.completed"]
    await client.http.post(f"/v1/runs/{run_id}/cancel")
    after = [event async for event in client.events(run_id, last_event_id=before[-1][0])]
    assert before + after == [event async for event in client.events(run_id)]


async def test_a_request_that_needs_the_database_says_that_it_is_away(client: ApiClient, here: Bench) -> None:
    run_id = await client.started("wait_long", 1)
    async with Database.open(f"postgresql://nobody@{NOBODY}/none") as database:
        response = await get(Runs(here.client, database, [app]), f"/v1/runs/{run_id}")
    assert (response.status_code, response.json()["type"]) == (503, "/problems/database-unavailable")
    assert NOBODY not in response.text


async def test_an_internal_error_leaks_nothing_and_is_logged(
    client: ApiClient, here: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = await client.started("wait_long", 1)
    async with Database.open(f"sqlite+aiosqlite:///{tmp_path}/empty.db") as without_tables:
        with caplog.at_level(logging.ERROR):
            response = await get(Runs(here.client, without_tables, [app]), f"/v1/runs/{run_id}")
    assert response.json() == {
        "type": "/problems/internal-error",
        "title": "Internal error",
        "status": 500,
        "detail": "the server failed on this request: its log says why",
        "instance": f"/v1/runs/{run_id}",
    }
    assert "no such table" in caplog.text
