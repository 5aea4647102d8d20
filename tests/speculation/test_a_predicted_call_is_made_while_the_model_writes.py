"""What a tool predicts is called beside the reply, once; where the model asks for it, its result is there."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Row
from temporalio.worker import Replayer

from orchestrator import Receipt
from orchestrator.ledger import RunReceipt, run_receipt, verify
from orchestrator.steps import RunStatus
from orchestrator.testing import CallTool, Reply, Say, ScriptedRequest, scripted_engine
from tests.bench import Bench, bench, result_of
from tests.eventually import eventually
from tests.speculation import program

PRICE = Decimal("0.005")


async def tool_rows(here: Bench) -> Sequence[Row[Any]]:
    return [row for row in await here.charges() if row.kind == "tool"]


async def receipt_of(here: Bench, run_id: str) -> RunReceipt:
    """With all checks made."""
    async with here.database.snapshot() as connection:
        verification = await verify(connection, run_id)
        assert verification.ok, verification
        return await run_receipt(connection, run_id)


async def replays(here: Bench, run_id: str) -> None:
    """Whether the run's history, replayed, makes the same commands."""
    history = await here.client.get_workflow_handle(run_id).fetch_history()
    await Replayer(workflows=[], plugins=[program.app.plugin()]).replay_workflow(history)


async def test_and_its_result_is_used(temporal_address: str, database_url: str) -> None:
    script = [
        Say(calls=(CallTool("find_order", tags=["a", "b", "c"], order_id="A1"),), hold_after_tokens=3),
        Say("It is on its way."),
    ]

    async def found() -> bool:
        return [row.outcome for row in await tool_rows(here)] == ["used"]

    async with (
        scripted_engine(script) as engine,
        bench([program.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
    ):
        run_id = await here.start("answer", "Where is order A1?")
        await engine.wait_until_held()
        await eventually(found)  # while the model is in the middle of asking for it
        engine.release()
        run = await here.runs.wait(run_id)
        made = await receipt_of(here, run_id)
        await replays(here, run_id)
        read = engine.requests[1].request.last_message
    assert program.calls == {"order A1": 1}
    assert read == "order A1 is on its way"
    assert result_of(run)["text"] == "It is on its way."
    assert Receipt.model_validate(result_of(run)["receipt"]) == run.receipt
    assert (run.receipt.waste, made.path) == (0, "generate > find_order > generate")
    beside, ahead, _ = made.steps
    assert (ahead.id, ahead.ahead_of, ahead.name) == ("ahead1~1", beside.id, "find_order")
    assert ahead.head_start is not None
    assert timedelta(0) < ahead.head_start <= timedelta(seconds=30)
    assert [step.head_start for step in made.steps if step is not ahead] == [None, None]


async def test_the_model_waits_for_what_is_not_there_yet(temporal_address: str, sqlite_url: str) -> None:
    script = [CallTool("wait_for", what="it"), Say("Here.")]

    async def asked() -> bool:
        return engine.requests[0].finish == "stop" and program.calls["wait for it"] == 1

    async with (
        scripted_engine(script) as engine,
        bench([program.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run_id = await here.start("answer", "Can you wait?")
        await engine.wait_for_requests(1)
        await eventually(asked)
        program.gate.set()
        run = await here.runs.wait(run_id)
        await replays(here, run_id)
    assert result_of(run)["text"] == "Here."
    assert program.calls == {"wait for it": 1}
    assert program.ended == {"well": 1}
    assert run.receipt.waste == 0


async def test_what_follows_is_predicted_from_what_was_called(temporal_address: str, sqlite_url: str) -> None:
    def script(request: ScriptedRequest) -> Reply:
        return CallTool("page", number=request.step + 1) if request.step < 4 else Say("Read.", hold_after_tokens=1)

    async def guessed_too_much() -> bool:
        return [row.outcome for row in await tool_rows(here)] == ["used"] * 5

    async with (
        scripted_engine(script) as engine,
        bench([program.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run_id = await here.start("answer", "What is on these pages?")
        await engine.wait_until_held()
        await eventually(guessed_too_much)
        engine.release()
        run = await here.runs.wait(run_id)
        made = await receipt_of(here, run.run_id)
        await replays(here, run.run_id)
    assert [program.calls[f"page {number}"] for number in range(1, 7)] == [1, 1, 1, 1, 1, 0]
    ahead = {step.id: (step.ahead_of, step.attempts[0].outcome) for step in made.steps if step.ahead_of}
    assert ahead == {
        "ahead1~1": ("ahead1", "used"),
        "ahead2~1": ("ahead2", "used"),
        "ahead3~1": ("ahead3", "used"),
        "ahead4~1": ("ahead4", "used"),
        "ahead5~1": ("ahead5", "discarded"),
    }


async def test_the_same_call_asked_for_twice_is_made_once_more(temporal_address: str, sqlite_url: str) -> None:
    twice = Say(calls=(CallTool("page", number=1), CallTool("page", number=1)))
    async with (
        scripted_engine([twice, Say("Read.")]) as engine,
        bench([program.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("answer", "What is on the page?")
    assert run.status is RunStatus.COMPLETED
    assert program.calls["page 1"] == 2


async def test_a_failure_is_the_models_to_read(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine([CallTool("broken"), Say("Sorry.")]) as engine,
        bench([program.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("answer", "Will it break?")
        rows = await tool_rows(here)
        read = engine.requests[1].request.last_message
    assert run.status is RunStatus.COMPLETED
    assert read == "error: tool 'broken' failed: RuntimeError: the disk is on fire"
    assert program.calls["broken"] == program.broken.attempts
    assert [row.outcome for row in rows] == ["retried", "retried", "failed"]


async def test_drafts_of_a_thought_predict_too(temporal_address: str, sqlite_url: str) -> None:
    def script(request: ScriptedRequest) -> Reply:
        return Say("It is 42.") if request.step else CallTool("find_order", order_id="A1", tags=["a", "b", "c"])

    async with (
        scripted_engine(script) as engine,
        bench([program.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("voted", "How old is order A1?")
        made = await receipt_of(here, run.run_id)
        await replays(here, run.run_id)
    assert result_of(run)["text"] == "42"
    drafts = [step.ahead_of for step in made.steps if step.ahead_of]
    assert drafts == ["think1.0.1", "think1.1.1", "think1.2.1"][: len(drafts)]
    assert program.calls["order A1"] == len(drafts) >= 2
    assert run.receipt.cost > PRICE * len(drafts)
