"""A ledger small enough to count by hand. A prompt token costs 2,000 nano-dollars, a cached one 200, output 8,000."""

from datetime import timedelta
from decimal import Decimal

import pytest

from orchestrator.database import Database
from orchestrator.errors import NoHistory, UnknownName
from orchestrator.ledger import Price
from orchestrator.quotes import Basis, Confidence, Quote, Quotes, Subject, require_history
from orchestrator.usage import Usage
from tests.reports.rows import MARCH, Rows


async def quoted(database: Database, workflow: str = "answer", tenant: str = "acme") -> Quote:
    return await Quotes(database, None).quote(Subject(workflow=workflow, tenant=tenant))


def ten_runs(rows: Rows) -> None:
    """The n-th took n minutes and 100 n prompt tokens."""
    for number in range(1, 11):
        run = rows.run(closed_at=MARCH + timedelta(minutes=number), path="generate")
        rows.charge(run, Usage(prompt=100 * number, cached=0, output=10))


async def test_percentiles_are_those_of_the_completed_runs(database: Database) -> None:
    rows = Rows()
    ten_runs(rows)
    await rows.write(database)
    made = await quoted(database)
    assert (made.basis, made.confidence, made.runs, made.ended) == (Basis.OWN_VERSION, Confidence.FAIR, 10, 10)
    assert made.cost is not None
    assert (made.cost.p50, made.cost.p90) == (Decimal("0.00108"), Decimal("0.00188"))
    assert made.cost.mean == made.cost_per_completed == Decimal("0.00118")
    assert made.waste_share == 0
    assert made.prompt is not None
    assert (made.prompt.p50, made.prompt.p90, made.prompt.mean) == (500, 900, 550)
    assert made.tokens is not None
    assert (made.tokens.p50, made.tokens.p90) == (510, 910)
    assert made.output is not None
    assert (made.output.p50, made.output.p90) == (10, 10)
    assert made.time is not None
    assert (made.time.p50, made.time.p90) == (timedelta(minutes=5), timedelta(minutes=9))
    assert (made.since, made.until) == (MARCH + timedelta(minutes=1), MARCH + timedelta(minutes=10))
    assert (made.input, made.waiting, made.at_most) == (None, None, None)
    assert require_history(made) is made


async def test_failed_runs_are_paid_for_by_those_that_complete(database: Database) -> None:
    rows = Rows()
    for _ in range(5):
        rows.charge(rows.run(), Usage(prompt=100))
    rows.charge(rows.run(status="failed"), Usage(prompt=400), outcome="failed")
    rows.charge(rows.run(status="cancelled"), Usage(prompt=100), outcome="cancelled")
    rows.charge(rows.run(status="running", closed_at=None), Usage(prompt=10_000))
    await rows.write(database)
    made = await quoted(database)
    assert made.cost is not None
    assert (made.runs, made.ended) == (5, 7)
    assert (made.cost.mean, made.cost.p90) == (Decimal("0.0002"), Decimal("0.0002"))
    assert made.cost_per_completed == Decimal("0.0004")  # 1,000 tokens for five
    assert made.waste_share == Decimal("0.5")


async def test_waste_children_and_corrections_are_in_a_runs_cost(database: Database) -> None:
    rows = Rows()
    for _ in range(5):
        run = rows.run(path="generate > answer")
        row = rows.charge(run, Usage(prompt=100, cached=0, output=0), estimated=True)
        rows.reused(row, Usage(prompt=100, cached=50, output=10))
        rows.charge(run, Usage(prompt=100, cached=0, output=0), outcome="discarded")
        rows.charge(rows.run("child", parent=run), Usage(prompt=50, cached=0, output=5))
        rows.run("answer", parent=rows.run("other"))  # no run of its own
    await rows.write(database)
    made = await quoted(database)
    assert made.cost is not None
    assert made.prompt is not None
    assert made.cached is not None
    assert made.output is not None
    assert made.runs == 5
    assert made.cost.p50 == Decimal("0.000530")  # 110 + 80 + 200 + 100 + 40 thousand nano-dollars
    assert (made.prompt.p50, made.cached.p50, made.output.p50) == (250, 50, 15)
    assert made.waste_share == round(Decimal(200) / Decimal(530), 6)
    with pytest.raises(UnknownName, match="did you mean 'answer'"):
        await quoted(database, "answr")
    with pytest.raises(UnknownName):
        await quoted(database, "child")  # it was never run by itself


async def test_this_version_comes_before_others_and_own_runs_before_strangers(database: Database) -> None:
    async def basis(*made: tuple[str, str, int]) -> tuple[Basis, int]:
        """Of so many runs of a tenant and version; the last is the latest."""
        rows = Rows()
        for place, (tenant, version, count) in enumerate(made):
            for _ in range(count):
                started = MARCH + timedelta(hours=place)
                run = rows.run(tenant=tenant, version=version, started_at=started, closed_at=started)
                rows.charge(run, Usage(prompt=100))
        await rows.write(database)
        answer = await quoted(database)
        return answer.basis, answer.runs

    assert await basis(("acme", "1", 50), ("acme", "2", 5)) == (Basis.OWN_VERSION, 5)
    assert await basis(("acme", "1", 50), ("acme", "2", 4)) == (Basis.OWN, 54)
    assert await basis(("zeta", "1", 9), ("zeta", "2", 9), ("acme", "2", 1)) == (Basis.VERSION, 10)
    assert await basis(("zeta", "1", 9), ("acme", "2", 1)) == (Basis.WORKFLOW, 10)
    assert await basis(("zeta", "2", 3), ("acme", "2", 1)) == (Basis.OWN_VERSION, 1)
    assert await basis(("zeta", "2", 4)) == (Basis.NONE, 0)  # so few would show what a single stranger paid


async def test_only_the_latest_runs_count(database: Database) -> None:
    rows = Rows()
    for day in range(210):
        run = rows.run(closed_at=MARCH + timedelta(days=day))
        rows.charge(run, Usage(prompt=1_000_000 if day < 10 else 100))
    await rows.write(database)
    made = await quoted(database)
    assert made.cost is not None
    assert (made.runs, made.confidence) == (200, Confidence.GOOD)
    assert made.cost.mean == Decimal("0.0002")
    assert made.since == MARCH + timedelta(days=10)


async def test_without_a_completed_run_there_is_no_figure(database: Database) -> None:
    rows = Rows()
    rows.charge(rows.run(status="failed"), Usage(prompt=100), outcome="failed")
    await rows.write(database)
    made = await quoted(database)
    assert (made.basis, made.confidence, made.runs, made.ended) == (Basis.NONE, Confidence.NONE, 0, 1)
    assert {getattr(made, name) for name in ("cost", "cost_per_completed", "tokens", "prompt", "time")} == {None}
    with pytest.raises(NoHistory, match="ended once and never well") as refused:
        require_history(made)
    assert refused.value.status == 404


async def test_runs_that_cost_nothing_are_quoted_at_nothing(database: Database) -> None:
    rows = Rows()
    for _ in range(5):
        rows.charge(rows.run(), Usage(prompt=100), price=Price(source="test"))
    rows.run(status="failed")
    await rows.write(database)
    made = await quoted(database)
    assert made.cost is not None
    assert (made.cost.p50, made.cost_per_completed, made.waste_share) == (0, 0, None)


async def test_usual_paths_are_told_apart(database: Database) -> None:
    rows = Rows()
    for path, count, prompt in (("generate", 6, 100), ("generate > search > generate", 3, 1000), ("search", 1, 5)):
        for _ in range(count):
            rows.charge(rows.run(path=path), Usage(prompt=prompt))
    await rows.write(database)
    made = await quoted(database)
    assert [(path.path, path.runs, path.cost_p50) for path in made.paths] == [
        ("generate", 6, Decimal("0.0002")),
        ("generate > search > generate", 3, Decimal("0.002")),
        ("search", 1, Decimal("0.00001")),
    ]
