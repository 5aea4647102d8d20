"""Rows in, gauges out, on both databases: what the workers' counters can't know is read from the books."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest
from prometheus_client import Metric
from sqlalchemy import Table, insert

from orchestrator.database import Database, now
from orchestrator.database.tables import accounts, charges, engine_counters, engine_windows, runs
from orchestrator.telemetry import Books, Drift, Engines, Exposition, Metrics
from orchestrator.testing import Say, scripted_engine
from tests.telemetry.reading import Reading

SERVER = "http://engine:30000"


class _Book:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, table: Table, **values: Any) -> None:
        async with self._database.begin() as connection:
            await connection.execute(insert(table), values)

    async def run(self, name: str, status: str, *, nano: int, parent: str | None = None) -> None:
        root = parent or name
        await self.write(
            runs, id=name, root=root, parent=parent, workflow_id=f"w-{name}", workflow="answer", version="1",
            tenant="t", status=status, started_at=now(),
        )  # fmt: skip
        await self.write(accounts, id=name, tenant="t", spent_nano=nano)

    async def charge(
        self, run: str, number: int, *, outcome: str | None, nano: int, deadline: timedelta, **more: Any
    ) -> None:
        row = {
            "workflow_id": f"w-{run}", "run_id": run, "activity_id": str(number), "attempt": 1, "call": 0, "entry": 0,
            "run": run, "root": run, "tenant": "t", "kind": "generate", "name": "m", "outcome": outcome,
            "reserved_nano": nano, "reserved_tokens": 1, "reserved_gpu_us": 0,
            "cost_nano": None if outcome is None else nano, "reserved_at": now(), "deadline": now() + deadline,
        }  # fmt: skip
        await self.write(charges, **{**row, **more})

    async def window(self, began: int, *, final: bool, attributed: int, idle: int, overhead: int) -> None:
        await self.write(
            engine_windows, server=SERVER, started_us=began, pool="default", gpus=1, gpu_price=0,
            wall_us=attributed + idle + overhead, attributed_us=attributed, idle_us=idle, overhead_us=overhead,
            final=final, method="fitted", weights={},
        )  # fmt: skip

    async def counted(self, ago: timedelta, *, boot: str = "1", **counted: int | None) -> None:
        at_us = int((now() - ago).timestamp() * 1_000_000)
        await self.write(engine_counters, server=SERVER, at_us=at_us, pool="default", boot=boot, **counted)


@pytest.fixture
def book(database: Database) -> _Book:
    return _Book(database)


async def _read(database: Database) -> Reading:
    return Reading(await Exposition(Metrics(), [Books(database)]).text())


async def test_money_and_runs_are_the_books_own(database: Database, book: _Book) -> None:
    await book.run("one", "completed", nano=3_000_000_000)
    await book.run("two", "completed", nano=1_500_000_000)
    await book.run("child", "completed", nano=1_000_000_000, parent="two")  # in the account of `two` as well
    await book.run("three", "failed", nano=250_000_000)
    read = await _read(database)
    assert read.by("orchestrator_runs", "workflow", "status") == {("answer", "completed"): 2, ("answer", "failed"): 1}
    assert read.by("orchestrator_ledger_spend_usd", "status") == {("completed",): 4.5, ("failed",): 0.25}
    assert read.sum("orchestrator_source_up", source="ledger") == 1


async def test_rows_that_stay_open_are_seen(database: Database, book: _Book) -> None:
    await book.run("one", "running", nano=0)
    later, gone = timedelta(minutes=1), timedelta(minutes=-1)
    await book.charge("one", 1, outcome="used", nano=7, deadline=gone)
    await book.charge("one", 2, outcome=None, nano=2_000_000_000, deadline=later)
    await book.charge("one", 3, outcome=None, nano=500_000_000, deadline=gone)
    read = await _read(database)
    assert read.by("orchestrator_open_reservations", "kind") == {("generate",): 2}
    assert read.by("orchestrator_overdue_reservations", "kind") == {("generate",): 1}
    assert read.by("orchestrator_reserved_usd", "kind") == {("generate",): 2.5}


async def test_gpu_time_is_that_of_final_windows(database: Database, book: _Book) -> None:
    await book.window(1, final=True, attributed=2_000_000, idle=500_000, overhead=250_000)
    await book.window(2, final=True, attributed=1_000_000, idle=500_000, overhead=0)
    await book.window(3, final=False, attributed=9_000_000, idle=0, overhead=0)
    read = await _read(database)
    assert read.by("orchestrator_gpu_seconds_total", "pool", "state") == {
        ("default", "attributed"): 3.0,
        ("default", "idle"): 1.0,
        ("default", "overhead"): 0.25,
    }
    assert read.by("orchestrator_engine_windows", "final") == {("true",): 2, ("false",): 1}


@pytest.mark.parametrize(
    ("before", "after", "share"),
    [
        ({"busy_us": 1_000_000, "idle_us": 0}, {"busy_us": 4_000_000, "idle_us": 0}, [0.3]),
        ({"idle_us": 0}, {"idle_us": 2_500_000}, [0.75]),
        ({"boot": "1", "idle_us": 9_000_000}, {"boot": "2", "idle_us": 0}, []),
    ],
    ids=["by the device", "by the scheduler", "not over a restart"],
)
async def test_utilisation_is_the_engines_own_count(
    database: Database, book: _Book, before: dict[str, Any], after: dict[str, Any], share: list[float]
) -> None:
    start = timedelta(seconds=20)
    await book.counted(timedelta(seconds=50), idle_us=0)
    await book.counted(start, **before)
    await book.counted(start - timedelta(seconds=10), **after)
    ratio = (await _read(database)).by("orchestrator_gpu_utilization_ratio", "server")
    assert list(ratio.values()) == [pytest.approx(each, abs=0.05) for each in share]


async def test_old_counters_say_nothing(database: Database, book: _Book) -> None:
    await book.counted(timedelta(hours=2), idle_us=0)
    await book.counted(timedelta(hours=1), idle_us=0)
    assert (await _read(database)).by("orchestrator_gpu_utilization_ratio") == {}


async def test_drift_and_coverage_are_those_of_the_reconciliation(database: Database, book: _Book) -> None:
    await book.run("one", "running", nano=0)
    for ago, prompt, cached, output in ((20, 100, 0, 10), (10, 500, 300, 110)):
        await book.counted(
            timedelta(minutes=ago), idle_us=0, prompt_tokens=prompt, cached_tokens=cached, output_tokens=output
        )
    ended = now() - timedelta(minutes=15)
    await book.charge(
        "one",
        1,
        outcome="used",
        nano=7,
        deadline=timedelta(),
        server=SERVER,
        reserved_at=ended - timedelta(seconds=3),
        finished_us=int(ended.timestamp() * 1_000_000),
        prompt_tokens=300,
        cached_tokens=300,
        output_tokens=100,
    )
    read = Reading(await Exposition(Metrics(), [Drift(database)]).text())
    assert read.by("orchestrator_ledger_drift_tokens", "server", "type") == {
        (SERVER, "input"): -100,
        (SERVER, "cache_read"): 0,
        (SERVER, "output"): 0,
    }
    assert read.by("orchestrator_ledger_coverage_ratio", "server") == {(SERVER,): 0.8}


async def test_an_engine_that_is_down_hides_no_other() -> None:
    async with (
        scripted_engine([Say("hello")]) as engine,
        Engines.open("default", [f"{engine.url}/", "http://127.0.0.1:1"]) as engines,
    ):
        read = Reading(await Exposition(Metrics(), [engines]).text())
        assert read.by("orchestrator_engine_up", "server") == {(engine.url,): 1, ("http://127.0.0.1:1",): 0}
        for name in ("kv_usage_ratio", "engine_running_requests", "engine_waiting_requests"):
            assert read.by(f"orchestrator_{name}", "pool", "server") == {("default", engine.url): 0}


async def test_the_engines_pressure_is_the_fullest_ranks() -> None:
    ranks = [
        {"token_usage": 0.25, "num_running_reqs": 3, "num_waiting_reqs": 0},
        {"token_usage": 0.75, "num_running_reqs": 2, "num_waiting_reqs": 4},
    ]
    wire = httpx.MockTransport(lambda request: httpx.Response(200, json={"loads": ranks}))
    async with httpx.AsyncClient(transport=wire) as http:
        read = Reading(await Exposition(Metrics(), [Engines(http, "default", [SERVER])]).text())
    assert read.sum("orchestrator_kv_usage_ratio") == 0.75
    assert read.sum("orchestrator_engine_running_requests") == 5
    assert read.sum("orchestrator_engine_waiting_requests") == 4


class _Broken:
    name = "broken"
    empty: Sequence[Metric] = ()

    def __init__(self) -> None:
        self.asked = 0

    async def read(self) -> Sequence[Metric]:
        self.asked += 1
        raise ConnectionError("it is away")


async def test_a_source_that_is_away_hides_nothing_else(sqlite_url: str) -> None:
    async with Database.open(sqlite_url) as database:
        read = Reading(await Exposition(Metrics(), [_Broken(), Books(database)]).text())
    assert read.by("orchestrator_source_up", "source") == {("broken",): 0, ("ledger",): 1}
    assert "orchestrator_runs" in read.families
    assert "orchestrator_attempts" in read.families


async def test_sources_are_asked_once_for_scrapes_that_come_together() -> None:
    source = _Broken()
    exposition = Exposition(Metrics(), [source])
    await exposition.text()
    await exposition.text()
    assert source.asked == 1
    eager = Exposition(Metrics(), [source], fresh=timedelta(0))
    await eager.text()
    await eager.text()
    assert source.asked == 3
