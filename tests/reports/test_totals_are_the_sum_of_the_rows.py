"""Whatever is in the ledger, and by whatever a report is made: its lines are the rows, no more and no less."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.database import Database
from orchestrator.ledger import By, CostReport, Price, Timeframe, cost_report, focus_rows
from orchestrator.usage import Outcome, Usage, usd_from_nano
from tests.reports.rows import MARCH, PRICE, Rows

BY_GPU = Price(gpu=2_500_000_000, source="test")
ODD = Price(input=1_234_567_891, cached=123_456_789, output=9_876_543_211, source="test")
by_the_way = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=15)


@st.composite
def ledgers(draw: st.DrawFn) -> Rows:
    """Runs, some of them started by others, with calls, some of them open, corrected or discarded."""
    rows = Rows()
    made: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 4))):
        parent = draw(st.none() | st.sampled_from(made)) if made else None
        made.append(
            rows.run(
                draw(st.sampled_from(["answer", "plan"])), parent=parent,
                status=draw(st.sampled_from(["completed", "failed", "running"])),
                passed=draw(st.sampled_from([None, True, False])),
                version=draw(st.sampled_from(["1", "2"])), path=draw(st.sampled_from([None, "generate", "generate*2"])),
                **({} if parent else {"tenant": draw(st.sampled_from(["acme", "zeta"]))}),
                closed_at=draw(st.none() | times),
            )
        )  # fmt: skip
    for _ in range(draw(st.integers(0, 8))):
        _charge(draw, rows, draw(st.sampled_from(made)))
    for _ in range(draw(st.integers(0, 3))):
        rows.window(
            idle_us=draw(st.integers(0, 10**10)), overhead_us=draw(st.integers(0, 10**9)), at=draw(times),
            pool=draw(st.sampled_from(["default", "other"])),
        )  # fmt: skip
    return rows


times = st.integers(-60, 60).map(lambda hours: MARCH + timedelta(hours=hours))
tokens = st.integers(0, 10**6)


def _charge(draw: st.DrawFn, rows: Rows, run: dict[str, Any]) -> None:
    price = draw(st.sampled_from([PRICE, BY_GPU, ODD]))
    outcome = draw(st.none() | st.sampled_from(list(Outcome)))
    row = rows.charge(
        run, _usage(draw), price=price, gpu_us=draw(st.integers(0, 10**8)), at=draw(times), outcome=outcome,
        pool=draw(st.sampled_from(["default", "spare"])), name=draw(st.sampled_from(["qwen", "gpt"])),
        estimated=draw(st.booleans()),
    )  # fmt: skip
    if outcome is None:
        row |= {"settled_at": None, "cost_nano": None, "estimated": False}
        return
    if draw(st.booleans()):
        rows.reused(row, _usage(draw), gpu_us=draw(st.integers(0, 10**8)), at=row["settled_at"] + timedelta(hours=30))
    if outcome == Outcome.USED and draw(st.booleans()):
        rows.discard(row, at=row["settled_at"] + timedelta(hours=40))


def _usage(draw: st.DrawFn) -> Usage:
    prompt = draw(tokens)
    return Usage(prompt=prompt, cached=draw(st.integers(0, prompt)), output=draw(tokens), reasoning=0)


def _nano(rows: Sequence[dict[str, Any]], column: str = "cost_nano") -> int:
    return sum(row[column] or 0 for row in rows if row["outcome"] is not None)


def _totals(report: CostReport) -> dict[str, Any]:
    line = report.total
    return {
        "cost": line.cost, "waste": line.waste.total, "idle": line.idle, "prompt": line.prompt_tokens,
        "cached": line.cached_tokens, "output": line.output_tokens, "gpu": line.gpu, "calls": line.calls,
        "runs": line.runs, "completed": line.completed, "savings": line.cache_savings, "estimated": line.estimated,
    }  # fmt: skip


@by_the_way
@given(rows=ledgers())
async def test_by_every_question(database: Database, rows: Rows) -> None:
    await rows.write(database)
    idle = usd_from_nano(_idle_nano(rows))
    for by in By:
        report = await cost_report(database, by=by)
        assert report.total.cost == usd_from_nano(_nano(rows.charges))
        assert report.total.waste.total == usd_from_nano(_nano([r for r in rows.charges if r["outcome"] != "used"]))
        assert report.total.prompt_tokens == _nano(rows.charges, "prompt_tokens")
        assert report.total.idle == idle
        for name in ("cost", "cache_savings", "estimated", "calls", "prompt_tokens", "output_tokens"):
            assert sum(getattr(line, name) for line in report.lines) == getattr(report.total, name)
        assert sum(line.idle for line in report.lines) + report.idle_unshared == idle
        outermost = [run for run in rows.runs if run["root"] == run["id"]]
        assert report.total.runs == len(outermost)
        assert report.total.completed == len([run for run in outermost if run["status"] == "completed"])
        if not by.divides_runs:
            assert sum(line.runs or 0 for line in report.lines) == report.total.runs
            assert sum(line.completed or 0 for line in report.lines) == report.total.completed
        assert len({tuple(line.group.values()) for line in report.lines}) == len(report.lines)


def _idle_nano(rows: Rows) -> int:
    return sum(
        Price(gpu=window["gpu_price"], source="test").cost(Usage(), window["idle_us"] + window["overhead_us"])
        for window in rows.windows
    )


@by_the_way
@given(rows=ledgers(), cuts=st.lists(times, min_size=1, max_size=3, unique=True))
async def test_periods_that_do_not_overlap_add_up(database: Database, rows: Rows, cuts: list[Any]) -> None:
    await rows.write(database)
    edges = [None, *sorted(cuts), None]
    frames = [Timeframe(since=since, until=until) for since, until in pairwise(edges)]
    for by in (By.WORKFLOW, By.DAY, By.MODEL):
        whole = _totals(await cost_report(database, by=by))
        parts = [_totals(await cost_report(database, by=by, timeframe=frame)) for frame in frames]
        for name, figure in whole.items():
            assert sum((part[name] for part in parts[1:]), parts[0][name]) == figure, name


@by_the_way
@given(rows=ledgers())
async def test_tenants_add_up(database: Database, rows: Rows) -> None:
    await rows.write(database)
    whole = _totals(await cost_report(database))
    parts = [_totals(await cost_report(database, tenant=tenant)) for tenant in ("acme", "zeta")]
    for name in ("cost", "waste", "prompt", "runs", "completed", "estimated", "savings"):
        assert parts[0][name] + parts[1][name] == whole[name], name


@by_the_way
@given(rows=ledgers())
async def test_prices_of_the_ledger_give_the_totals_of_the_ledger(database: Database, rows: Rows) -> None:
    """To the nano-dollar, corrections and discarded calls included, in each line and in each period."""
    prices = {"qwen": ODD, "gpt": BY_GPU}
    for row in rows.charges:
        price = prices[row["name"]]
        row |= {
            "input_price": price.input, "cached_price": price.cached, "output_price": price.output,
            "gpu_price": price.gpu,
        }  # fmt: skip
    _charge_again(rows, prices)
    for name, price in prices.items():
        rows.price(price, model=name)
    await rows.write(database)
    frames = [Timeframe(until=MARCH), Timeframe(since=MARCH)]
    for by in (By.DAY, By.OUTCOME):
        for frame in frames:
            charged = await cost_report(database, by=by, timeframe=frame)
            priced = await cost_report(database, by=by, timeframe=frame, book="other")
            assert not priced.unpriced
            assert _costs(charged) == _costs(priced)


def _costs(report: CostReport) -> dict[str, Any]:
    """Lines and total, but for the idle shares, which the prices of the GPUs make."""
    shares = {"group", "idle", "cost_per_completed", "cost_of_pass"}
    return {str(line.group): line.model_dump(exclude=shares) for line in [*report.lines, report.total]}


def _charge_again(rows: Rows, prices: dict[str, Price]) -> None:
    """Gives each row the cost that it would have been written with."""
    so_far: dict[tuple[Any, ...], tuple[int, int, int, int, int]] = {}
    for row in rows.charges:
        if row["outcome"] is None:
            continue
        key = row["activity_id"], row["outcome"]
        prompt, cached, output, gpu, cost = so_far.get(key, (0, 0, 0, 0, 0))
        prompt += row["prompt_tokens"] or 0
        cached += row["cached_tokens"] or 0
        output += row["output_tokens"] or 0
        gpu += row["gpu_us"] or 0
        after = prices[row["name"]].cost(Usage(prompt=prompt, cached=cached, output=output), gpu)
        row["cost_nano"] = after - cost
        so_far[key] = prompt, cached, output, gpu, after


@by_the_way
@given(rows=ledgers())
async def test_the_focus_export_adds_up_to_the_report(database: Database, rows: Rows) -> None:
    await rows.write(database)
    report = await cost_report(database)
    exported = await focus_rows(database)
    for column in ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"):
        assert sum(Decimal(row[column] or "") for row in exported) == report.total.cost + report.total.idle
    assert sum(Decimal(row["x_EstimatedCost"] or 0) for row in exported) == report.total.estimated
    mine = await focus_rows(database, tenant="acme")
    assert (
        sum(Decimal(row["BilledCost"] or "") for row in mine) == (await cost_report(database, tenant="acme")).total.cost
    )


async def test_an_empty_ledger_costs_nothing(database: Database) -> None:
    for by in By:
        report = await cost_report(database, by=by)
        assert (report.lines, report.total.cost, report.total.runs) == ([], 0, 0)
        assert report.total.cost_per_completed is None
    assert list(await focus_rows(database)) == []


@pytest.mark.parametrize("by", By)
async def test_calls_of_a_run_without_a_row_are_not_lost(database: Database, by: By) -> None:
    """A run's row is written with its first charge; should an outermost one be missing, its money is there still."""
    rows = Rows()
    child = rows.run(parent={"root": "missing", "id": "missing", "tenant": "acme"})
    rows.charge(child, Usage(prompt=10, output=1))
    await rows.write(database)
    report = await cost_report(database, by=by)
    assert report.total.cost == report.lines[0].cost == Decimal("0.000028")
