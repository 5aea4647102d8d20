"""A run that is terminated, or that Temporal times out, can't close its own bill: the sweep does."""

from datetime import timedelta

import pytest
from anyio import fail_after, sleep
from sqlalchemy import select

from orchestrator.database import Database
from orchestrator.database.tables import runs
from orchestrator.ledger import verify
from orchestrator.steps import RunStatus
from orchestrator.sweeping import sweeper_for
from orchestrator.testing import Say, scripted_engine
from tests.bench import Bench, bench
from tests.programs import programs


async def _record(database: Database) -> tuple[str, str, str | None]:
    async with database.read() as connection:
        row = (await connection.execute(select(runs))).one()
    return row.id, row.status, row.error


async def _swept_until_closed(here: Bench) -> None:
    """Temporal's list of runs is a moment behind."""
    closed = 0
    with fail_after(20):
        while not closed or any(row.outcome is None for row in await here.charges()):
            swept = await sweeper_for(here.client, here.database, None).sweep(young=timedelta(0))
            closed += swept.closed
            await sleep(0.1)
    assert closed == 1


@pytest.mark.parametrize("ending", [RunStatus.TERMINATED, RunStatus.TIMED_OUT])
async def test_by(temporal_address: str, database_url: str, ending: RunStatus) -> None:
    async with (
        scripted_engine(lambda _: Say("word " * 50, hold_after_tokens=3)) as engine,
        bench([programs.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
    ):
        handle = await here.client.start_workflow(
            "converse",
            {"steps": 2},
            id=f"forced-{ending}",
            task_queue=programs.app.task_queue,
            execution_timeout=timedelta(seconds=3) if ending is RunStatus.TIMED_OUT else None,
        )
        await engine.wait_until_held()
        if ending is RunStatus.TERMINATED:
            await handle.terminate("enough")
        await engine.wait_until_idle()
        await _swept_until_closed(here)
        run, status, error = await _record(here.database)
        assert status == ending
        assert error is not None
        assert "ended from outside" in error
        async with here.database.snapshot() as connection:
            assert (await verify(connection, run)).ok
        assert (await sweeper_for(here.client, here.database, None).sweep()).closed == 0
