"""Runs that start runs: tenant, budget and bill are handed down, and what is spent is handed up."""

from decimal import Decimal

from sqlalchemy import select

from orchestrator.database.tables import runs
from orchestrator.execution import COST_USD, TOKENS
from orchestrator.steps import RunStatus
from orchestrator.testing import Say, scripted_engine
from tests.bench import Bench, bench, result_of
from tests.programs import programs


async def _family(here: Bench) -> dict[str, tuple[str | None, str, str]]:
    """Of each run: its parent, its tenant and its status."""
    async with here.database.read() as connection:
        rows = (await connection.execute(select(runs))).all()
    return {row.id: (row.parent, row.tenant, row.status) for row in rows}


async def test_a_parents_bill_has_its_childrens_once(temporal_address: str, database_url: str) -> None:
    async with (
        scripted_engine(lambda _: Say("yes")) as engine,
        bench([programs.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
    ):
        run = await here.run("parent", {"steps": 3})
        assert run.result == ["yes"] * 3
        served = engine.served
        usage = run.receipt.usage
        assert (usage.prompt, usage.output) == (served.prompt_tokens, served.output_tokens)
        assert run.receipt.steps == 4
        family = await _family(here)
        (root,) = (run_id for run_id, (parent, _, _) in family.items() if parent is None)
        assert [parent for parent, _, _ in family.values()].count(root) == 3
        assert {(tenant, status) for _, tenant, status in family.values()} == {("default", "completed")}
        accounts = {account.id: account for account in await here.totals()}
        below = [account for run_id, account in accounts.items() if run_id != root]
        own = [row for row in await here.charges() if row.run == root]
        assert accounts[root].spent_nano == sum(row.cost_nano for row in own) + sum(row.spent_nano for row in below)
        assert {row.root for row in await here.charges()} == {root}
        described = await here.client.get_workflow_handle(run.run_id).describe()
        shown = described.typed_search_attributes
        assert shown.get(TOKENS) == usage.total
        assert Decimal(str(shown.get(COST_USD))) == run.receipt.cost


async def test_a_run_is_recorded_with_version_path_and_verdict(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine(lambda _: Say("yes")) as engine,
        bench([programs.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        await here.run("parent", {"steps": 3})
        async with here.database.read() as connection:
            (row,) = (await connection.execute(select(runs).where(runs.c.workflow == "parent"))).all()
            others = (await connection.execute(select(runs).where(runs.c.workflow == "child"))).all()
        assert (row.version, row.path, row.passed) == ("2", "generate > child*3", True)
        assert {(other.version, other.path, other.passed) for other in others} == {("1", "generate", None)}


async def test_children_together_cannot_pass_their_parents_budget(temporal_address: str, database_url: str) -> None:
    async with (
        scripted_engine(lambda _: Say("yes")) as engine,
        bench([programs.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
    ):
        run = await here.run("bounded_parent", {"steps": 8, "max_tokens": 20})
        assert run.status is RunStatus.COMPLETED
        assert "BudgetExceeded" in result_of(run)
        accounts = await here.totals()
        (root,) = (account for account in accounts if account.limit_tokens == 400)
        assert root.spent_tokens == run.receipt.usage.total <= 400
        assert {account.reserved_tokens for account in accounts} == {0}


async def test_a_child_may_have_a_budget_of_its_own(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine(lambda _: Say("yes")) as engine,
        bench([programs.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("strict_parent", {"steps": 5})
        assert run.error is not None
        assert run.error.type == "BudgetExceeded"
        assert "the run's budget of 2 calls" in run.error.message
        assert len(engine.requests) == 2


async def test_a_run_that_goes_on_as_new_keeps_its_bill(temporal_address: str, database_url: str) -> None:
    async with (
        scripted_engine(lambda _: Say("yes")) as engine,
        bench([programs.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
    ):
        run = await here.run("relay", {"steps": 4})
        assert run.result == "yes, 4 steps"
        (account,) = await here.totals()
        assert account.calls == 4
        assert account.spent_tokens == run.receipt.usage.total
        async with here.database.read() as connection:
            (row,) = (await connection.execute(select(runs))).all()
        assert (row.path, row.status) == ("generate*4", "completed")


async def test_replies_that_lost_are_waste(temporal_address: str, database_url: str) -> None:
    async with (
        scripted_engine(lambda _: Say("yes")) as engine,
        bench([programs.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
    ):
        run = await here.run("choosy", 3)
        lost = [line for line in run.bill if line.outcome == "discarded"]
        won = [line for line in run.bill if line.outcome == "used"]
        assert sum((line.receipt.cost for line in lost), Decimal(0)) == run.receipt.waste > 0
        assert result_of(run) == f"yes, waste {run.receipt.waste:f}"
        assert sum((line.receipt.cost for line in won), Decimal(0)) == run.receipt.cost - run.receipt.waste
        (account,) = await here.totals()
        assert account.spent_nano == int(run.receipt.cost.scaleb(9))


async def test_a_tool_may_have_a_price(temporal_address: str, sqlite_url: str) -> None:
    async with bench([programs.app], temporal=temporal_address, database_url=sqlite_url, engine=None) as here:
        run = await here.run("call_one", "priced")
        assert (run.result, run.receipt.cost, run.receipt.waste) == ("found", Decimal("0.005"), 0)
