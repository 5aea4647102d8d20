import signal
import socket

import anyio
import httpx
import pytest

from orchestrator.api import create_api, serving
from orchestrator.errors import ConfigurationError
from tests.api.client import ApiClient, Event
from tests.bench import Bench


async def test_open_streams_end_well_when_the_server_stops(client: ApiClient, here: Bench) -> None:
    run_id = await client.started("wait_long", 1)
    await client.first_events(run_id, 3)
    got: list[Event] = []
    all_came = anyio.Event()

    async def watch(url: str) -> None:
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as http:
            async for event in ApiClient(http, here).events(run_id):
                got.append(event)
                if len(got) == 3:
                    all_came.set()

    with anyio.fail_after(30):
        async with anyio.create_task_group() as watching:
            async with serving(create_api(here.runs, settings=here.settings), "127.0.0.1", 0) as url:
                for _ in range(3):
                    watching.start_soon(watch, url)
                await all_came.wait()
                stopping = anyio.current_time()
            assert anyio.current_time() - stopping < 2


async def test_the_port_is_free_once_the_server_has_stopped(here: Bench) -> None:
    api = create_api(here.runs, settings=here.settings)
    async with serving(api, "127.0.0.1", 0) as url:
        port = int(url.rpartition(":")[2])
    async with serving(api, "127.0.0.1", port) as again, httpx.AsyncClient(trust_env=False) as http:
        assert again == url
        assert (await http.get(f"{again}/healthz")).status_code == 200


async def test_a_cancelled_owner_stops_the_server_in_good_order(here: Bench) -> None:
    url = ""
    with anyio.CancelScope() as owner:
        async with serving(create_api(here.runs, settings=here.settings), "127.0.0.1", 0) as url:
            async with httpx.AsyncClient(trust_env=False) as http:
                assert (await http.get(f"{url}/healthz")).status_code == 200
            owner.cancel()
            await anyio.sleep_forever()
    async with httpx.AsyncClient(trust_env=False) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(f"{url}/healthz")


async def test_signals_stay_with_the_process(here: Bench) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    async with serving(create_api(here.runs, settings=here.settings), "127.0.0.1", 0):
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


async def test_a_port_in_use_is_named(here: Bench) -> None:
    api = create_api(here.runs, settings=here.settings)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"can't listen on 127\.0\.0\.1:{port}.*ORCHESTRATOR_API__PORT"):
            async with serving(api, "127.0.0.1", port):
                pass


async def test_without_a_port_the_next_free_one_is_taken(here: Bench) -> None:
    api = create_api(here.runs, settings=here.settings)
    async with serving(api, "127.0.0.1", None) as first, serving(api, "127.0.0.1", None) as second:
        assert 8000 <= int(first.rpartition(":")[2]) < int(second.rpartition(":")[2])
