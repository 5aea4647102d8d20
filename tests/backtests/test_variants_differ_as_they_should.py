"""Another pool, budget or strategy: the sign of the difference, its interval, and what a gate makes of it."""

from decimal import Decimal
from typing import Any

import pytest

from orchestrator.backtests import Metric
from orchestrator.errors import ConfigurationError, DefinitionError, InvalidInput, UnknownName
from orchestrator.steps import RunStatus
from orchestrator.testing import Say, scripted_engine
from orchestrator.testing.requests import ScriptedRequest
from tests.backtests.shop import differences, shop

RUNS = 8


def wordy(request: ScriptedRequest) -> Say:
    """Longer for later questions; always blue."""
    return Say("blue" if "short" in request.last_message else f"It is blue, {'very ' * len(request.last_message)}blue.")


def terse(request: ScriptedRequest) -> Say:
    """Always short; green where it isn't sure."""
    return Say("green" if request.last_message.endswith("?") else "blue")


def ends_well(question: str, result: str) -> bool:
    return result.endswith(".")


def misread(question: str, result: Any) -> bool:
    return bool(result["text"])


async def test_a_cheaper_pool_is_cheaper_by_an_interval(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine(wordy) as dear,
        scripted_engine(terse) as cheap,
        shop(temporal_address, sqlite_url, dear) as here,
        here.pool("cheap", cheap),
    ):
        await here.ran("answer", *(f"question {'x' * number}" for number in range(RUNS)))
        conditions = ["cost>+10%", "accuracy<-2", "tokens.high>0", "pairs<8", "time.high>+100000%"]
        report = await here.backtest("answer", "pool=cheap", fail_if=conditions)
        same = await here.backtest("answer", fail_if=["cost>+10%", "accuracy<-2"])
        worse = await here.backtest("answer", "pool=cheap", fail_if=["cost>-10%", "cost.high>-1%", "tokens<0"])
    made = differences(report)
    cost, output = made[Metric.COST], made[Metric.TOKENS]
    assert len(cheap.requests) == 2 * RUNS
    assert (cost.pairs, report.accuracy_by, report.failed_by) == (RUNS, "workflow", [])
    originals, reruns = ([getattr(pair, side).cost for pair in report.pairs] for side in ("original", "rerun"))
    assert cost.original == (sum(originals, Decimal(0)) / RUNS).quantize(Decimal("1e-9"))
    assert cost.variant == (sum(reruns, Decimal(0)) / RUNS).quantize(Decimal("1e-9"))
    assert cost.low is not None
    assert cost.high is not None
    assert cost.low <= cost.difference <= cost.high < 0
    assert cost.relative is not None
    assert cost.relative < Decimal("-0.2")
    assert output.difference < 0
    # The wordy engine was never exactly "blue", the terse one always.
    accuracy = made[Metric.ACCURACY]
    assert (accuracy.original, accuracy.variant, accuracy.difference) == (0, 100, 100)
    none = differences(same)[Metric.ACCURACY]
    assert (none.difference, none.low, none.high, same.failed_by) == (0, 0, 0, [])
    assert differences(same)[Metric.TOKENS].difference == 0
    assert worse.failed_by == ["tokens<0"]


async def test_a_less_accurate_variant_fails_the_gate(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine(lambda _: Say("blue")) as good,
        scripted_engine(terse) as hasty,
        shop(temporal_address, sqlite_url, good) as here,
        here.pool("hasty", hasty),
    ):
        await here.ran("answer", "one", "two?", "three", "four?", "five")
        report = await here.backtest("answer", "pool=hasty", fail_if=["accuracy<-2", "accuracy.high<-2", "failed>0"])
    accuracy = differences(report)[Metric.ACCURACY]
    assert (accuracy.original, accuracy.variant, accuracy.difference) == (100, 60, -40)
    assert accuracy.low is not None
    assert accuracy.low < -40 < (accuracy.high or 0)
    assert report.failed_by == ["accuracy<-2"]  # the interval still holds no difference at all
    assert [pair.rerun.correct for pair in report.pairs] == [True, False, True, False, True]  # the latest first


async def test_a_check_of_ones_own_judges_both_sides(temporal_address: str, sqlite_url: str) -> None:
    async with scripted_engine(wordy) as engine, shop(temporal_address, sqlite_url, engine) as here:
        await here.ran("answer", "short", "long")
        report = await here.backtest("answer", check=ends_well)
        broken = await here.backtest("answer", check=misread, fail_if=["accuracy<-2"])
    assert report.accuracy_by == "check"
    assert [(pair.original.correct, pair.rerun.correct) for pair in report.pairs] == [(True, True), (False, False)]
    assert (broken.unjudged, broken.failed_by, Metric.ACCURACY in differences(broken)) == (2, ["accuracy<-2"], False)
    assert broken.check_problem == "TypeError: string indices must be integers, not 'str'"
    assert all(made.low is None for made in report.differences)  # two pairs say nothing about the rest


async def test_a_budget_of_the_variant_binds(temporal_address: str, sqlite_url: str) -> None:
    async with scripted_engine(wordy) as engine, shop(temporal_address, sqlite_url, engine) as here:
        await here.ran("answer", "short", "a rather longer one")
        report = await here.backtest("answer", "budget.tokens=60", fail_if=["failed>0"])
    assert {pair.status for pair in report.pairs} == {RunStatus.FAILED}
    assert {pair.compared for pair in report.pairs} == {True}
    assert all("60 tokens" in (pair.error or "") for pair in report.pairs)
    assert (report.failed, report.failed_by) == (2, ["failed>0"])
    assert differences(report)[Metric.ACCURACY].difference == -50  # one was right before


async def test_reruns_share_no_cache_with_the_originals(temporal_address: str, sqlite_url: str) -> None:
    async with scripted_engine(wordy) as engine, shop(temporal_address, sqlite_url, engine) as here:
        (run,) = [await here.here.run("answer", "short")]
        again = await here.here.run("answer", "short")
        report = await here.backtest("answer", limit=1)
        (rerun,) = (await here.here.runs.run(report.pairs[0].rerun.run_id),)
    assert (again.receipt.usage.cached or 0) > 0
    assert rerun.receipt.usage.cached == run.receipt.usage.cached == 0


async def test_a_strategy_reaches_those_who_think_by_one(temporal_address: str, sqlite_url: str) -> None:
    async with scripted_engine(lambda _: Say("blue")) as engine, shop(temporal_address, sqlite_url, engine) as here:
        await here.ran("ponder", "What?")
        await here.ran("answer", "What?")
        pondered = await here.backtest("ponder", 'strategy={"kind": "vote", "at_most": 3, "at_least": 3}')
        unused = await here.backtest("answer", "strategy=vote")
    (pair,) = pondered.pairs
    assert (pair.status, pair.error, pondered.strategies_used, unused.strategies_used) == (
        RunStatus.COMPLETED, None, 1, 0,
    )  # fmt: skip
    assert pair.rerun.tokens >= 2 * pair.original.tokens


async def test_what_can_not_be_is_refused_before_anything_runs(temporal_address: str, sqlite_url: str) -> None:
    async with scripted_engine(wordy) as engine, shop(temporal_address, sqlite_url, engine) as here:
        await here.ran("answer", "short")
        for change, kind, words in (
            ("pol=x", UnknownName, "did you mean 'pool'?"),
            ("pool=", InvalidInput, "pool has no value"),
            ("pool=nobodys", ConfigurationError, "no worker polls engine.nobodys"),
            ("budget.tokens=many", InvalidInput, "its budget: tokens"),
            ("strategy=vot", UnknownName, "did you mean 'vote'?"),
            ("version=7", DefinitionError, "its code here is version 1, not 7"),
        ):
            with pytest.raises(kind) as refused:
                await here.backtest("answer", change)
            assert words in str(refused.value)
        await here.backtest("answer", "version=1")
    assert len(engine.requests) == 2
