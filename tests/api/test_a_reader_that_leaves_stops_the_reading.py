from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
from temporalio.client import FetchWorkflowHistoryEventsInput, Interceptor, OutboundInterceptor
from temporalio.plugin import SimplePlugin

from orchestrator.api import create_api, serving
from orchestrator.connect import connect
from orchestrator.plugin import client_plugin
from orchestrator.runs import Runs
from tests.api.client import ApiClient
from tests.api.program import app
from tests.bench import Bench


class Readings(Interceptor):
    """Sees when reading a history begins and ends."""

    def __init__(self) -> None:
        self.begun, self.ended = anyio.Event(), anyio.Event()

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002
        readings = self

        class Tap(OutboundInterceptor):
            def fetch_workflow_history_events(self, input: FetchWorkflowHistoryEventsInput) -> Any:  # noqa: A002
                return readings.watch(super().fetch_workflow_history_events(input))

        return Tap(next)

    async def watch(self, events: AsyncIterator[Any]) -> AsyncIterator[Any]:
        self.begun.set()
        try:
            async for event in events:
                yield event
        finally:
            self.ended.set()


async def test_a_reader_that_leaves_stops_the_reading(here: Bench, temporal_address: str) -> None:
    readings = Readings()
    tap = SimplePlugin("readings", interceptors=[readings])
    runs = Runs(await connect([client_plugin(), tap], address=temporal_address), here.database, [app])
    async with (
        serving(create_api(runs, settings=here.settings), "127.0.0.1", 0) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        client = ApiClient(http, here)
        run_id = await client.started("wait_long", 1)
        with anyio.fail_after(30):
            await client.first_events(run_id, 3)
            assert readings.begun.is_set()
            await readings.ended.wait()
