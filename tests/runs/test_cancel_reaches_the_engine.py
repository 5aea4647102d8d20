"""A cancelled run stops costing money."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.local import TemporalServer
from orchestrator.steps import RunStatus
from orchestrator.testing import Say, scripted_engine
from tests.bench import bench
from tests.programs import programs

LONG = "word " * 200


@pytest.fixture
async def stock_temporal(tmp_path: Path) -> AsyncIterator[str]:
    """A server without our tuning and without worker commands."""
    server = TemporalServer(log=tmp_path / "temporal.log", db_file=None, ui=False, tuned=False)
    async with server.start() as running:
        yield running.address


async def test_within_a_second(temporal_address: str, database_url: str) -> None:
    await _cancel_in_the_middle(temporal_address, database_url, within=1.0)


async def test_within_three_seconds_on_a_stock_server(stock_temporal: str, sqlite_url: str) -> None:
    await _cancel_in_the_middle(stock_temporal, sqlite_url, within=3.0)


async def _cancel_in_the_middle(temporal: str, database_url: str, *, within: float) -> None:
    async with (
        scripted_engine([Say(LONG, hold_after_tokens=11)]) as engine,
        bench([programs.app], temporal=temporal, database_url=database_url, engine=engine.url) as here,
    ):
        run_id = await here.start("think", "Talk for long.")
        await engine.wait_until_held()
        began = time.monotonic()
        await here.runs.cancel(run_id)
        await engine.wait_until_idle()
        took = time.monotonic() - began
        run = await here.runs.wait(run_id)
        assert run.status is RunStatus.CANCELLED
        assert engine.requests[0].finish == "abort"
        (row,) = await here.charges()
        assert (row.outcome, row.output_tokens, row.prompt_tokens, row.estimated) == (
            "cancelled",
            engine.served.output_tokens,
            engine.served.prompt_tokens,
            False,
        )
        assert [record.status for record in await here.totals()] == ["cancelled"]
        assert took < within
