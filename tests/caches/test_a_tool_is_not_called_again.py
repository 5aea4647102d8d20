"""A call that asks what was asked before is answered by the result of then: at no cost, and only for whom it was."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import Row, update

from orchestrator import Receipt
from orchestrator.database import now
from orchestrator.database.tables import kept_results
from orchestrator.steps import RunStatus
from orchestrator.testing import CallTool, Say, scripted_engine
from orchestrator.usage import Savings
from tests.bench import Bench, bench, result_of
from tests.caches import program
from tests.eventually import eventually

PRICE = Decimal("0.005")


async def _tool_rows(here: Bench) -> Sequence[Row[Any]]:
    return [row for row in await here.charges() if row.kind == "tool"]


async def test_it_costs_nothing_and_says_what_that_saved(temporal_address: str, database_url: str) -> None:
    async with bench([program.app], temporal=temporal_address, database_url=database_url, engine=None) as here:
        first = await here.run("weighed", ["a feather"])
        again = await here.run("weighed", ["a feather"])
        rows = await _tool_rows(here)
    assert program.calls["weigh"] == 1
    assert result_of(first)["results"] == result_of(again)["results"]
    assert (first.receipt.cost, first.receipt.saved) == (PRICE, Savings())
    assert (again.receipt.cost, again.receipt.saved) == (0, Savings(results=1, usd=PRICE))
    assert Receipt.model_validate(result_of(again)["receipt"]) == again.receipt
    assert [(row.outcome, row.price_source, row.cost_nano, row.saved_nano, row.saved_tokens) for row in rows] == [
        ("used", "tool", 5_000_000, None, None),
        ("used", "cache", 0, 5_000_000, 0),
    ]


async def test_whatever_way_it_is_written(temporal_address: str, database_url: str) -> None:
    script = [
        CallTool("weigh", what="a feather"),
        CallTool("weigh", grams=True, what="a feather"),
        CallTool("weigh", what="a feather", grams=False),
        Say("It is light."),
    ]
    async with (
        scripted_engine(script) as engine,
        bench([program.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
    ):
        run = await here.run("read_aloud", "How heavy is it?")
        read = [record.request.last_message for record in engine.requests[1:]]
    assert program.calls["weigh"] == 2
    assert read[0] == read[1] == '{"what":"a feather","weight":1,"grams":true}'
    assert read[2] == '{"what":"a feather","weight":2,"grams":false}'
    assert run.receipt.saved == Savings(results=1, usd=PRICE)


async def test_what_a_model_and_what_a_workflow_gets_is_the_same_result(temporal_address: str, sqlite_url: str) -> None:
    script = [CallTool("page", number=3), CallTool("weigh", what="a page"), Say("Read.")]
    async with (
        scripted_engine([*script, *script]) as engine,
        bench([program.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        weighed = await here.run("weighed", ["a page"])
        for _ in range(2):
            await here.run("read_aloud", "What is on page 3?")
        read = [record.request.last_message for record in engine.requests if record.request.step == 1]
        weights = [record.request.last_message for record in engine.requests if record.request.step == 2]
    assert program.calls == {"page": 1, "weigh": 1}
    assert read[0] == read[1]
    assert read[0].startswith("page 3, read for the 1. time.")
    assert len(read[0]) > 512  # it travels by reference
    assert weights == ['{"what":"a page","weight":1,"grams":true}'] * 2
    assert result_of(weighed)["results"] == [{"what": "a page", "weight": 1, "grams": True}]


async def test_no_other_tenant_sees_it(temporal_address: str, database_url: str) -> None:
    async with bench([program.app], temporal=temporal_address, database_url=database_url, engine=None) as here:
        await here.run("weighed", ["a feather"])
        run_id = await here.runs.start("weighed", ["a feather"], tenant="another")
        other = await here.runs.wait(run_id)
    assert program.calls["weigh"] == 2
    assert other.receipt.saved == Savings()


async def test_a_tool_of_the_same_name_of_another_app_is_another_tool(temporal_address: str, sqlite_url: str) -> None:
    apps = [program.app, program.elsewhere]
    async with bench(apps, temporal=temporal_address, database_url=sqlite_url, engine=None) as here:
        await here.run("weighed", ["a feather"])
        other = await here.run("weighed_elsewhere", "a feather")
    assert program.calls == {"weigh": 1, "another weigh": 1}
    assert result_of(other)["results"][0]["weight"] == -1


async def test_it_is_called_again_once_that_is_too_long_ago(temporal_address: str, database_url: str) -> None:
    async with bench([program.app], temporal=temporal_address, database_url=database_url, engine=None) as here:
        await here.run("weighed", ["a feather"])
        async with here.database.begin() as connection:
            await connection.execute(update(kept_results).values(made_at=now() - program.HOUR))
        again = await here.run("weighed", ["a feather"])
        for _ in range(2):
            await here.run("called", "fleeting")
    assert program.calls == {"weigh": 2, "fleeting": 2}
    assert (again.receipt.cost, again.receipt.saved) == (PRICE, Savings())


async def test_only_where_the_tool_says_so(temporal_address: str, sqlite_url: str) -> None:
    async with bench([program.app], temporal=temporal_address, database_url=sqlite_url, engine=None) as here:
        runs = [await here.run("called", "plain") for _ in range(2)]
    assert [result_of(run)["results"] for run in runs] == [[1], [2]]
    assert [run.receipt.cost for run in runs] == [PRICE, PRICE]


async def test_a_failure_is_not_kept(temporal_address: str, sqlite_url: str) -> None:
    async with bench([program.app], temporal=temporal_address, database_url=sqlite_url, engine=None) as here:
        runs = [await here.run("called", "moody") for _ in range(2)]
        rows = await _tool_rows(here)
    assert [result_of(run)["results"] for run in runs] == [["in a better mood at the 2. time"]] * 2
    assert [(row.attempt, row.outcome, row.price_source) for row in rows] == [
        (1, "retried", "free"),
        (2, "used", "free"),
        (1, "used", "cache"),
    ]


async def test_calls_at_the_same_time_wait_for_the_first(temporal_address: str, database_url: str) -> None:
    async with bench([program.app], temporal=temporal_address, database_url=database_url, engine=None) as here:

        async def all_wait() -> bool:
            """Whether a worker has taken all of them up."""
            described = [await here.client.get_workflow_handle(run_id).describe() for run_id in here.started]
            return sum(pending.attempt for run in described for pending in run.raw_description.pending_activities) == 5

        started = [await here.start("called", "slow") for _ in range(5)]
        await eventually(all_wait)
        program.gate.set()
        runs = await asyncio.gather(*(here.runs.wait(run_id) for run_id in started))
        rows = await _tool_rows(here)
    assert [run.status for run in runs] == [RunStatus.COMPLETED] * 5
    assert program.calls["slow"] == 1
    assert {result_of(run)["results"][0] for run in runs} == {"done 1"}
    assert sorted(row.price_source for row in rows) == ["cache"] * 4 + ["free"]
