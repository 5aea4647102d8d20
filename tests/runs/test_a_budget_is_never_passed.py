import anyio

from orchestrator.testing import Say, scripted_engine
from tests.bench import Bench, bench, result_of
from tests.programs import programs

BRANCHES = 16
FITTING = 5
"""How many upper bounds the budget of `thrifty` has room for."""


async def _until_each_branch_is_asked_or_refused(here: Bench, run_id: str, asked: int) -> None:
    with anyio.fail_after(30):
        while True:
            description = await here.client.get_workflow_handle(run_id).describe()
            if len(description.raw_description.pending_activities) == asked:
                return
            await anyio.sleep(0.05)


async def test_parallel_branches_cannot_pass_the_same_check(temporal_address: str, database_url: str) -> None:
    async with (
        scripted_engine(lambda _: Say("yes", hold_after_tokens=1)) as engine,
        bench([programs.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
    ):
        run_id = await here.start("thrifty", BRANCHES)
        await engine.wait_until_held(FITTING)
        await _until_each_branch_is_asked_or_refused(here, run_id, asked=FITTING)
        (totals,) = await here.totals()
        assert totals.reserved_nano == totals.limit_nano == 10_000
        engine.release()
        run = await here.runs.wait(run_id)
        assert result_of(run).count("Reply") == FITTING
        assert result_of(run).count("BudgetExceeded") == BRANCHES - FITTING
        (totals,) = await here.totals()
        assert totals.spent_nano <= totals.limit_nano
        assert (totals.reserved_nano, totals.reserved_tokens) == (0, 0)
        rows = await here.charges()
        assert len(rows) == len(engine.requests) == FITTING
        assert sum(row.cost_nano for row in rows) == totals.spent_nano
