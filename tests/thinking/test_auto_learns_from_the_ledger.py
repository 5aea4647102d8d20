"""What past runs of a workflow cost and passed decides which strategy its next run takes."""

from datetime import UTC, datetime
from decimal import Decimal

from pydantic import JsonValue
from sqlalchemy import update

from orchestrator.database import Database
from orchestrator.database.tables import accounts, runs
from orchestrator.ledger.experience import experience
from orchestrator.steps import RunStatus
from orchestrator.strategies import Auto, BestOf, Experience, Revise
from orchestrator.testing import Say, scripted_engine
from tests.bench import bench, result_of
from tests.ledger.books import Books
from tests.programs import thoughts


async def _past(
    database: Database, path: str, *, passed: bool | None, nano: int, tenant: str = "t", workflow: str = "solved"
) -> None:
    books = Books.of_a_new_run(database, tenant=tenant, workflow=workflow)
    await books.ledger.close_run(books.scope, RunStatus.COMPLETED, None, path=path, passed=passed)
    async with database.begin() as connection:
        await connection.execute(update(accounts).where(accounts.c.id == books.scope.run).values(spent_nano=nano))
        await connection.execute(update(runs).where(runs.c.id == books.scope.run).values(closed_at=datetime.now(UTC)))


async def test_runs_that_chose_and_say_whether_they_passed_are_counted(database: Database) -> None:
    await _past(database, "retrieve > auto(hard)>best_of > generate", passed=True, nano=3_000)
    await _past(database, "auto(hard)>best_of", passed=False, nano=4_000)
    await _past(database, "auto(easy)>direct", passed=True, nano=1_000)
    await _past(database, "auto(hard)>best_of", passed=None, nano=9_000)
    await _past(database, "auto(hard)>best_of > auto(easy)>direct", passed=True, nano=9_000)
    await _past(database, "auto(hard)>best_of", passed=True, nano=9_000, tenant="another")
    await _past(database, "auto(hard)>best_of", passed=True, nano=9_000, workflow="another")
    await _past(database, "best_of", passed=True, nano=9_000)
    known = await experience(database, tenant="t", workflow="solved", version="1")
    assert known == [
        Experience(strategy="best_of", difficulty="hard", runs=2, passed=1, cost=Decimal("0.000007")),
        Experience(strategy="direct", difficulty="easy", runs=1, passed=1, cost=Decimal("0.000001")),
    ]


async def test_a_run_takes_what_was_cheapest_to_pass_by(temporal_address: str, database_url: str) -> None:
    """On hard tasks, one of two candidates has always passed, and the other never."""
    strategy = Auto(pilots=2, candidates=(BestOf(at_most=4), Revise(at_most=4)))
    puzzle: dict[str, JsonValue] = {"strategy": strategy.model_dump(mode="json"), "judge": "exact"}
    async with (
        scripted_engine(lambda request: Say(f"It is {10 + request.number % 7}.")) as engine,
        bench([thoughts.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
    ):
        chosen: list[str] = []
        for better, worse in (("best_of", "revise"), ("revise", "best_of")):
            for _ in range(20 if not chosen else 60):
                await _past(here.database, f"auto(hard)>{better}", passed=True, nano=1_000, tenant="default")
                await _past(here.database, f"auto(hard)>{worse}", passed=False, nano=9_000, tenant="default")
            chosen.append(result_of(await here.run("solved", puzzle))["strategy"])
        assert chosen == ["auto(hard)>best_of", "auto(hard)>revise"]
