"""Tools, retrieval and their failures come from the record, whatever they would say now; nothing is written twice."""

import pytest
from sqlalchemy import update

from orchestrator.database.tables import charges
from orchestrator.errors import NoHistory, UnknownName
from orchestrator.ledger import cost_report
from orchestrator.quotes import Quotes, Subject
from orchestrator.steps import RunStatus
from orchestrator.testing import CallTool, Say, scripted_engine
from orchestrator.testing.requests import ScriptedRequest
from tests.backtests import program
from tests.backtests.shop import shop, the_world


def echo(request: ScriptedRequest) -> Say:
    return Say(f"You said: {request.last_message}")


async def test_what_a_tool_and_a_collection_said_then_counts(temporal_address: str, database_url: str) -> None:
    async with scripted_engine(echo) as engine, shop(temporal_address, database_url, engine) as here:
        await here.handbook("Tea is grown in Assam.")
        with the_world(tea=3):
            (then,) = await here.ran("buy", {"item": "tea"})
            assert (then["price"], then["order"], then["reply"]) == (3, 1, "You said: tea for 3?")
        await here.handbook("Tea is out of stock.")
        with the_world(tea=99):
            report = await here.backtest("buy")
            assert program.ASKED == []
            assert program.ORDERS == []
    (pair,) = report.pairs
    assert (pair.status, pair.error, pair.answered, pair.live, pair.off_record) == (RunStatus.COMPLETED, None, 3, 0, ())
    assert (report.accuracy_by, pair.rerun.correct) == ("match", True)
    assert "Tea is grown in Assam." in engine.requests[-1].prompt
    assert engine.requests[-1].request.last_message == "tea for 3?"
    assert (report.failed, report.off_record, report.skipped, report.failed_by) == (0, 0, [], [])


async def test_a_rerun_costs_what_the_engine_made_and_is_kept_apart(temporal_address: str, database_url: str) -> None:
    async with scripted_engine(echo) as engine, shop(temporal_address, database_url, engine) as here:
        await here.handbook("Tea is grown in Assam.")
        with the_world():
            await here.ran("buy", {"item": "tea"})
            before = await Quotes(here.here.database, None).quote(Subject(workflow="buy", tenant="default"))
            report = await here.backtest("buy")
        after = await Quotes(here.here.database, None).quote(Subject(workflow="buy", tenant="default"))
        costs = await cost_report(here.here.database)
        rows = await here.here.charges()
        described = await here.here.client.get_workflow_handle(report.pairs[0].rerun.run_id).describe()
        memo = await described.memo()
    (pair,) = report.pairs
    assert pair.rerun.run_id.startswith("backtest-buy-")
    assert memo["orchestrator.backtest-of"] == pair.original.run_id
    mine = [row for row in rows if row.workflow_id == pair.rerun.run_id]
    assert [(row.kind, row.name, row.outcome) for row in mine] == [
        ("retrieve", "handbook", "used"),
        ("tool", "price_of", "used"),
        ("generate", "scripted", "used"),
        ("tool", "order", "used"),
    ]
    assert {row.cost_nano for row in mine if row.kind != "generate"} == {0}
    (thought,) = [row.cost_nano for row in mine if row.kind == "generate"]
    assert report.spent * 10**9 == thought
    assert pair.rerun.cost * 10**9 == thought + 1_000_000  # what the price cost the original
    lines = {line.group["workflow"]: line for line in costs.lines}
    assert {name: (line.runs, line.completed) for name, line in lines.items()} == {
        "buy": (1, 1),
        "backtest/buy": (1, 1),
    }
    assert lines["buy"].cost == pair.original.cost
    assert after == before


async def test_calls_of_the_model_are_matched_by_what_they_say(temporal_address: str, sqlite_url: str) -> None:
    def then(request: ScriptedRequest) -> Say | CallTool:
        if request.last_message == "What is tea?":
            return Say(calls=(CallTool("price_of", item="tea"), CallTool("order", item="tea")))
        return Say("Three dollars.")

    async with scripted_engine(then) as engine, shop(temporal_address, sqlite_url, engine) as here:
        with the_world():
            await here.here.run("advise", "What is tea?")
            assert sorted(program.ASKED) == ["order", "price_of"]
        with the_world(tea=99):
            report = await here.backtest("advise")
            assert program.ASKED == []
    (pair,) = report.pairs
    assert (pair.answered, pair.off_record, pair.rerun.correct) == (2, (), True)
    assert '"dollars":3' in engine.requests[-1].prompt


async def test_children_are_answered_each_by_its_own_record(temporal_address: str, sqlite_url: str) -> None:
    """Both ask twice for the same, and are told another price each time."""
    async with scripted_engine(echo) as engine, shop(temporal_address, sqlite_url, engine) as here:
        with the_world(rising=0):
            assert await here.ran("family", ["rising", "rising"]) == [[102, 304]]
        with the_world(rising=70):
            report = await here.backtest("family")
            assert program.ASKED == []
    (pair,) = report.pairs
    assert (pair.answered, pair.off_record, pair.rerun.correct) == (4, (), True)
    assert (pair.rerun.cost, pair.rerun.tokens) == (pair.original.cost, pair.original.tokens)


async def test_a_recorded_failure_fails_again(temporal_address: str, sqlite_url: str) -> None:
    async with scripted_engine(echo) as engine, shop(temporal_address, sqlite_url, engine) as here:
        with the_world():
            (then,) = await here.ran("careful", "milk")
            assert then == "tool 'price_of' failed: there is no milk"
        with the_world(milk=1):
            report = await here.backtest("careful")
            assert program.ASKED == []
    (pair,) = report.pairs
    assert (pair.rerun.correct, pair.answered, pair.off_record) == (True, 1, ())


async def test_what_is_not_on_record_is_refused_and_named(temporal_address: str, sqlite_url: str) -> None:
    wishes = {"first": "tea"}

    def reply(request: ScriptedRequest) -> Say | CallTool:
        if request.last_message == "What is best?":
            return Say(calls=(CallTool("price_of", item=wishes["first"]), CallTool("order", item=wishes["first"])))
        return Say(request.last_message)

    async with scripted_engine(reply) as engine, shop(temporal_address, sqlite_url, engine) as here:
        with the_world():
            await here.ran("advise", "What is best?")
            program.ASKED.clear()
            wishes["first"] = "cup"
            refused = await here.backtest("advise")
            assert program.ASKED == []
            allowed = await here.backtest("advise", live_reads=True)
            assert program.ASKED == ["price_of"]  # a write is never made
    (pair,) = refused.pairs
    assert (pair.status, pair.compared, sorted(pair.off_record)) == (RunStatus.COMPLETED, True, ["order", "price_of"])
    assert (refused.off_record, refused.off_record_calls) == (1, {"price_of": 1, "order": 1})
    assert pair.rerun.correct is False
    (pair,) = allowed.pairs
    assert (pair.live, pair.off_record, pair.answered) == (1, ("order",), 0)
    assert "nothing on its record answers it" in engine.requests[-1].prompt


async def test_a_rerun_that_ends_for_want_of_an_answer_is_not_compared(temporal_address: str, sqlite_url: str) -> None:
    """The ledger has lost what the tool said."""
    async with scripted_engine(echo) as engine, shop(temporal_address, sqlite_url, engine) as here:
        await here.handbook("Tea is grown in Assam.")
        with the_world():
            await here.ran("buy", {"item": "tea"})
            async with here.here.database.begin() as connection:
                await connection.execute(update(charges).where(charges.c.name == "price_of").values(result=None))
            report = await here.backtest("buy", fail_if=["cost>+1000%", "pairs<1", "failed>0"])
    (pair,) = report.pairs
    assert (pair.compared, pair.status, report.failed, report.differences) == (False, RunStatus.FAILED, 0, [])
    assert pair.error is not None
    assert "'price_of'" in pair.error
    assert report.failed_by == ["cost>+1000%", "pairs<1"]  # what can't be told doesn't pass


async def test_a_workflow_without_completed_runs_is_an_error(temporal_address: str, sqlite_url: str) -> None:
    async with scripted_engine(echo) as engine, shop(temporal_address, sqlite_url, engine) as here:
        with pytest.raises(UnknownName, match="no workflow that was ever run is called 'buy'"):
            await here.backtest("buy")
        await here.here.run("buy", {"item": "tea"})  # there is no handbook, so it fails
        with pytest.raises(NoHistory, match="ended once and never well"):
            await here.backtest("buy")
