"""A predicted call that the model doesn't ask for is given up at once, and is on the bill as waste, no more."""

from decimal import Decimal

import pytest

from orchestrator import Receipt
from orchestrator.budget import Allowance
from orchestrator.ledger import set_limit
from orchestrator.steps import RunStatus
from orchestrator.testing import CallTool, Say, scripted_engine
from tests.bench import bench, result_of
from tests.eventually import eventually
from tests.speculation import program
from tests.speculation.test_a_predicted_call_is_made_while_the_model_writes import (
    PRICE,
    receipt_of,
    replays,
    tool_rows,
)


@pytest.mark.parametrize(
    "reply",
    [Say("I don't know.", hold_after_tokens=2), Say(calls=(CallTool("page", number=7),), hold_after_tokens=2)],
    ids=["answers", "calls another tool"],
)
async def test_after_it_has_ended(temporal_address: str, database_url: str, reply: Say) -> None:
    async def ended() -> bool:
        return [row.outcome for row in await tool_rows(here)] == ["used"]

    async with (
        scripted_engine([reply, Say("Well.")]) as engine,
        bench([program.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
    ):
        run_id = await here.start("answer", "Where is order A1?")
        await engine.wait_until_held()
        await eventually(ended)
        engine.release()
        run = await here.runs.wait(run_id)
        made = await receipt_of(here, run_id)
        await replays(here, run_id)
        (account,) = await here.totals()
        served = engine.served
    assert run.status is RunStatus.COMPLETED
    assert run.receipt.waste == PRICE
    assert Receipt.model_validate(result_of(run)["receipt"]).waste == PRICE
    assert Receipt.model_validate(result_of(run)["receipt"]).cost == run.receipt.cost
    (guess,) = [step for step in made.steps if step.ahead_of]
    assert [attempt.outcome for attempt in guess.attempts] == ["discarded"]
    assert (guess.receipt.cost, guess.head_start) == (PRICE, None)
    assert "find_order" not in (made.path or "")
    assert (account.reserved_nano, account.spent_nano) == (0, int(run.receipt.cost.scaleb(9)))
    assert run.receipt.usage.total == served.prompt_tokens + served.output_tokens


async def test_while_it_runs(temporal_address: str, database_url: str) -> None:
    async def begun() -> bool:
        return program.calls["wait for it"] == 1

    async with (
        scripted_engine([Say("No need.", hold_after_tokens=1)]) as engine,
        bench([program.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
    ):
        run_id = await here.start("answer", "Can you wait?")
        await engine.wait_until_held()
        await eventually(begun)
        engine.release()
        run = await here.runs.wait(run_id)
        made = await receipt_of(here, run_id)
        await replays(here, run_id)
        (account,) = await here.totals()
    assert result_of(run)["text"] == "No need."
    assert program.ended == {"cancelled": 1}
    assert run.receipt.waste == PRICE  # it was called, and its price is by the call
    assert Receipt.model_validate(result_of(run)["receipt"]).waste == PRICE
    assert [step.attempts[0].outcome for step in made.steps if step.ahead_of] == ["discarded"]
    assert (account.reserved_nano, account.spent_nano) == (0, int(run.receipt.cost.scaleb(9)))


async def test_with_the_run(temporal_address: str, sqlite_url: str) -> None:
    async def begun() -> bool:
        return program.calls["wait for it"] == 1

    async with (
        scripted_engine([Say("word " * 50, hold_after_tokens=1)]) as engine,
        bench([program.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run_id = await here.start("answer", "Can you wait?")
        await engine.wait_until_held()
        await eventually(begun)
        await here.runs.cancel(run_id)
        run = await here.runs.wait(run_id)
        made = await receipt_of(here, run_id)
        await replays(here, run_id)
    assert run.status is RunStatus.CANCELLED
    assert program.ended == {"cancelled": 1}
    assert [step.attempts[0].outcome for step in made.steps] == ["cancelled", "discarded"]


@pytest.mark.parametrize(("workflow", "ahead"), [("poor", 0), ("rich", 1)])
async def test_it_takes_a_tenth_of_what_is_left_at_most(
    temporal_address: str, sqlite_url: str, workflow: str, ahead: int
) -> None:
    script = [CallTool("find_order", order_id="A1", tags=["a", "b", "c"]), Say("On its way.")]
    async with (
        scripted_engine(script) as engine,
        bench([program.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run(workflow, "Where is order A1?")
        made = await receipt_of(here, run.run_id)
        await replays(here, run.run_id)
    assert result_of(run)["text"] == "On its way."
    assert len([step for step in made.steps if step.ahead_of]) == ahead
    assert program.calls == {"order A1": 1}
    assert run.receipt.waste == 0


async def test_what_a_budget_above_refuses_is_not_called_and_nothing_else_follows(
    temporal_address: str, database_url: str
) -> None:
    async with (
        scripted_engine([CallTool("find_order", order_id="A1", tags=["a", "b", "c"]), Say("No idea.")]) as engine,
        bench([program.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
    ):
        await set_limit(here.database, "default", "day", Allowance(usd=Decimal("0.004")))
        run = await here.run("answer", "Where is order A1?")
        rows = await tool_rows(here)
        await replays(here, run.run_id)
    assert run.error is not None
    assert run.error.type == "BudgetExceeded"  # of the call that the model asked for, not of the one that was guessed
    assert (rows, program.calls) == ([], {})
    assert len(engine.requests) == 1


async def test_where_a_person_is_asked_first_nothing_is_predicted(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine([Say("No need.")]) as engine,
        bench([program.careful], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("answer_with_care", "Where is it?")
    assert run.result == "No need."
    assert program.calls == {}


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("Is it a bug?", "tool 'buggy': its predict raised KeyError: 'order'. Return its arguments by name"),
        ("Is it nonsense?", "tool 'buggy': its predict returned a str"),
    ],
)
async def test_a_prediction_that_can_not_be_one_ends_the_run(
    temporal_address: str, sqlite_url: str, question: str, words: str
) -> None:
    async with bench([program.app], temporal=temporal_address, database_url=sqlite_url, engine=None) as here:
        run = await here.run("answer", question)
    assert run.status is RunStatus.FAILED
    assert run.error is not None
    assert run.error.type == "DefinitionError"
    assert words in run.error.message
