"""Timeouts, heartbeats and cancellation of tools, on the real Temporal: each ends what runs, and all is on the bill."""

import os
import signal
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator.steps import RunStatus
from orchestrator.worker import Role, running_workers
from tests.bench import Bench, bench
from tests.eventually import eventually
from tests.timeouts import program
from tests.workers import worker_process

PRICE = Decimal("0.001")
APP = "tests.timeouts.program:app"


async def _attempts(here: Bench) -> list[tuple[int, Any, Any]]:
    return [(row.attempt, row.outcome, row.cost_nano) for row in await here.charges() if row.entry == 0]


async def _begun(here: Bench) -> bool:
    return [outcome for _, outcome, _ in await _attempts(here)] == [None]


@pytest.mark.parametrize(("name", "tries"), [("hanging", 3), ("hanging_write", 1)])
async def test_an_attempt_that_takes_too_long_is_ended(
    temporal_address: str, database_url: str, name: str, tries: int
) -> None:
    async def all_ended() -> bool:
        return program.ended["cancelled"] == tries and all(outcome for _, outcome, _ in await _attempts(here))

    async with bench([program.app], temporal=temporal_address, database_url=database_url, engine=None) as here:
        run = await here.run("call", name)
        await eventually(all_ended)  # the worker learns of it by its next heartbeat
        attempts = await _attempts(here)
        (account,) = await here.totals()
    assert run.status is RunStatus.FAILED
    assert run.error is not None
    assert run.error.type == "ToolTimedOut"
    assert run.error.message == (
        f"tool '{name}' failed: it didn't return within 1 s; make it faster, or raise @app.tool(timeout=...)"
    )
    assert attempts == [
        *((attempt, "retried", 1_000_000) for attempt in range(1, tries)),
        (tries, "failed", 1_000_000),
    ]
    assert (account.spent_nano, account.reserved_nano) == (tries * 1_000_000, 0)


async def test_a_tool_that_says_nothing_lives_while_its_worker_does(temporal_address: str, sqlite_url: str) -> None:
    async with bench([program.app], temporal=temporal_address, database_url=sqlite_url, engine=None) as here:
        run = await here.run("call_long", 5.0)  # a second more than a worker may be silent
        attempts = await _attempts(here)
    assert run.result == "done"
    assert program.ended == {"well": 1}
    assert attempts == [(1, "used", 1_000_000)]


async def test_a_tool_learns_of_a_cancellation_within_a_second(temporal_address: str, database_url: str) -> None:
    async def cancelled() -> bool:
        return program.ended["cancelled"] == 1

    async with bench([program.app], temporal=temporal_address, database_url=database_url, engine=None) as here:
        run_id = await here.start("call", "long")
        await eventually(lambda: _begun(here))
        began = time.monotonic()
        await here.runs.cancel(run_id)
        await eventually(cancelled)
        took = time.monotonic() - began
        run = await here.runs.wait(run_id)
        attempts = await _attempts(here)
        (account,) = await here.totals()
    assert run.status is RunStatus.CANCELLED
    assert attempts == [(1, "cancelled", 1_000_000)]
    assert (account.spent_nano, account.reserved_nano) == (1_000_000, 0)
    assert run.receipt.waste == PRICE
    assert took < 1.5


@asynccontextmanager
async def _without_tools(temporal: str, database_url: str) -> AsyncGenerator[Bench]:
    """All but the tools runs here."""
    roles = [Role.WORKFLOWS, Role.LEDGER]
    async with (
        bench([program.app], temporal=temporal, database_url=database_url, engine=None, workers=False) as here,
        running_workers([program.app], here.settings, address=temporal, roles=roles),
    ):
        yield here


async def test_a_killed_workers_call_is_made_by_another_one(
    temporal_address: str, database_url: str, tmp_path: Path
) -> None:
    process = partial(worker_process, temporal_address, database_url, None, tmp_path / "log", app=APP, roles=["tools"])
    async with _without_tools(temporal_address, database_url) as here:
        run_id = await here.start("call_long", 1.0)
        with process() as worker:
            await eventually(lambda: _begun(here))
            os.kill(worker.pid, signal.SIGKILL)
            worker.wait()
        with process():
            run = await here.runs.wait(run_id)
        attempts = await _attempts(here)
    assert run.result == "done"
    assert attempts == [(1, "retried", 1_000_000), (2, "used", 1_000_000)]


async def test_a_tool_that_holds_up_its_worker_is_named(temporal_address: str, sqlite_url: str, tmp_path: Path) -> None:
    async with _without_tools(temporal_address, sqlite_url) as here:
        run_id = await here.start("call", "blocking")
        with worker_process(temporal_address, sqlite_url, None, tmp_path / "log", app=APP, roles=["tools"]):
            run = await here.runs.wait(run_id)
    assert run.error is not None
    assert run.error.type == "ToolLost"
    assert "tool 'blocking' failed: its worker said nothing for 4 s" in run.error.message
