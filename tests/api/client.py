"""A client of the API, for tests."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import httpx
from pydantic import JsonValue

from orchestrator.runs import Run
from tests.bench import Bench

__all__ = ["ApiClient", "Event"]

Event = tuple[str, str, dict[str, Any]]
"""Id, type and data."""


class ApiClient:
    """What a program does with the API; runs that it starts end with the tests."""

    def __init__(self, http: httpx.AsyncClient, bench: Bench) -> None:
        self.http = http
        self._bench = bench

    async def start(self, workflow: str, value: JsonValue, *, key: str | None = None) -> httpx.Response:
        headers = {} if key is None else {"Idempotency-Key": key}
        response = await self.http.post(f"/v1/workflows/{workflow}/runs", json=value, headers=headers)
        if response.is_success:
            self._bench.started.append(response.json()["run_id"])
        return response

    async def started(self, workflow: str, value: JsonValue) -> str:
        """Starts a run; its id."""
        response = await self.start(workflow, value)
        assert response.status_code == 202, response.text
        return str(response.json()["run_id"])

    async def run(self, run_id: str) -> Run:
        response = await self.http.get(f"/v1/runs/{run_id}")
        assert response.status_code == 200, response.text
        return Run.model_validate_json(response.content)

    async def ended(self, run_id: str) -> Run:
        """A run once the API has told of its end."""
        _ = [event async for event in self.events(run_id)]
        return await self.run(run_id)

    async def events(self, run_id: str, **headers: str) -> AsyncGenerator[Event]:
        """The events of a run, as they come, until the server ends the stream."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.stream("GET", f"/v1/runs/{run_id}/events", headers=named) as response:
            assert response.status_code == 200, await response.aread()
            assert response.headers["content-type"].startswith("text/event-stream")
            fields: dict[str, str] = {}
            async for line in response.aiter_lines():
                name, _, value = line.partition(": ")
                if line:
                    fields[name] = value
                elif "data" in fields:
                    yield fields["id"], fields["event"], json.loads(fields["data"])
                    fields = {}

    async def first_events(self, run_id: str, count: int, **headers: str) -> list[Event]:
        """So many events, then leaves."""
        got: list[Event] = []
        async with aclosing(self.events(run_id, **headers)) as events:
            while len(got) < count:
                got.append(await anext(events))
        return got
