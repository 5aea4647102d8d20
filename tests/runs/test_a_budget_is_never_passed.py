from orchestrator.testing import Say, scripted_engine
from tests.bench import bench, result_of
from tests.programs import programs


async def test_parallel_branches_cannot_pass_the_same_check(temporal_address: str, database_url: str) -> None:
    async with (
        scripted_engine(lambda _: Say("yes")) as engine,
        bench([programs.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
    ):
        run = await here.run("thrifty", 16)
        kinds = set(result_of(run))
        assert kinds == {"Reply", "BudgetExceeded"}
        (totals,) = await here.totals()
        assert totals.spent_nano <= totals.limit_nano == 10_000
        assert (totals.reserved_nano, totals.reserved_tokens) == (0, 0)
        rows = await here.charges()
        assert len(rows) == result_of(run).count("Reply") == len(engine.requests)
        assert sum(row.cost_nano for row in rows) == totals.spent_nano
