"""People aren't asked again; a run that went on as a new one is run again from its beginning; what is gone is named."""

from typing import Any

from pydantic import JsonValue
from sqlalchemy import update
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from orchestrator.database.tables import runs
from orchestrator.questions import ANSWER_HUMAN, ANSWER_QUESTION, QUESTIONS, Answer, Question
from orchestrator.steps import RunStatus
from orchestrator.testing import CallTool, Say, scripted_engine
from orchestrator.testing.requests import ScriptedRequest
from tests.backtests import program
from tests.backtests.shop import shop, the_world
from tests.eventually import eventually


def orders(request: ScriptedRequest) -> Say | CallTool:
    """Orders what it is told to, then says what came of it."""
    if request.last_message.startswith("Order "):
        return CallTool("order", item=request.last_message.split()[1])
    return Say(request.last_message)


async def answered(handle: WorkflowHandle[Any, Any], about: str, answer: JsonValue) -> None:
    """Answers the question that is about this."""
    question = await open_question(handle, about)
    given = Answer(question=question.id, answer=answer)
    await handle.execute_update(ANSWER_QUESTION, given)  # pyright: ignore[reportUnknownMemberType]


async def open_question(handle: WorkflowHandle[Any, Any], about: str) -> Question:
    """The one that stands open, once it does."""
    found: list[Question] = []

    async def is_asked() -> bool:
        asked = await handle.query(QUESTIONS, result_type=list[Question])
        found[:] = [question for question in asked if about in question.text]
        return bool(found)

    await eventually(is_asked)
    return found[0]


async def test_what_people_said_is_said_again(temporal_address: str, sqlite_url: str) -> None:
    async with scripted_engine(orders) as engine, shop(temporal_address, sqlite_url, engine) as here:
        with the_world():
            run_id = await here.here.start("consult", "Which colour?")
            handle = here.here.client.get_workflow_handle(run_id)
            colour = await open_question(handle, "Which colour?")
            await handle.signal(ANSWER_HUMAN, Answer(question=colour.id, answer="green"))  # there is none
            await answered(handle, "Which colour?", "blue")
            approval = await open_question(handle, "May order be called?")
            await handle.signal(ANSWER_HUMAN, Answer(question=approval.id, answer="yes"))
            run = await here.here.runs.wait(run_id)
            assert run.result == "blue, no reason: 1"
            assert program.ORDERS == ["blue"]
            report = await here.backtest("consult")
            assert program.ORDERS == ["blue"]
    (pair,) = report.pairs
    assert (pair.status, pair.error, pair.rerun.correct) == (RunStatus.COMPLETED, None, True)
    # The question, the one that nobody answered in time, and the call. Whether it may be made isn't asked again.
    assert (pair.answered, pair.off_record) == (3, ())


async def test_a_refusal_on_record_is_a_refusal_again(temporal_address: str, sqlite_url: str) -> None:
    async with scripted_engine(orders) as engine, shop(temporal_address, sqlite_url, engine) as here:
        with the_world():
            run_id = await here.here.start("consult", "Which colour?")
            handle = here.here.client.get_workflow_handle(run_id)
            await answered(handle, "Which colour?", "red")
            await answered(handle, "May order be called?", {"decision": "no", "reason": "too dear"})
            run = await here.here.runs.wait(run_id)
            assert "too dear" in str(run.result)
            report = await here.backtest("consult")
            assert program.ORDERS == []
    (pair,) = report.pairs
    assert (pair.status, pair.rerun.correct, pair.off_record) == (RunStatus.COMPLETED, True, ())


async def test_a_question_that_nobody_was_asked_ends_the_rerun(temporal_address: str, sqlite_url: str) -> None:
    """The model wants to write something that no person was asked about: it waits for nobody."""
    wanted = {"item": "tea"}

    def reply(request: ScriptedRequest) -> Say | CallTool:
        return CallTool("order", item=wanted["item"]) if "Order" in request.last_message else Say(request.last_message)

    async with scripted_engine(reply) as engine, shop(temporal_address, sqlite_url, engine) as here:
        with the_world():
            run_id = await here.here.start("consult", "Which colour?")
            handle = here.here.client.get_workflow_handle(run_id)
            await answered(handle, "Which colour?", "blue")
            await answered(handle, "May order be called?", "yes")
            await here.here.runs.wait(run_id)
            wanted["item"] = "cup"
            report = await here.backtest("consult")
            assert program.ORDERS == ["tea"]
    (pair,) = report.pairs
    assert (pair.status, pair.off_record) == (RunStatus.COMPLETED, ("order",))
    assert pair.rerun.correct is False


async def test_a_run_that_went_on_as_a_new_one_is_one_original(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine(lambda request: Say(request.last_message)) as engine,
        shop(temporal_address, sqlite_url, engine) as here,
    ):
        with the_world(rising=0):
            assert await here.ran("relay", 3) == ["at last 3"]
        with the_world(rising=50):
            report = await here.backtest("relay")
            assert program.ASKED == []
    (pair,) = report.pairs
    assert (pair.status, pair.answered, pair.off_record, pair.rerun.correct) == (RunStatus.COMPLETED, 3, (), True)
    assert [record.request.last_message for record in engine.requests] == ["3: 1", "2: 2", "1: 3"] * 2


async def is_gone(client: Client, workflow_id: str) -> bool:
    try:
        await client.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        return error.status is RPCStatusCode.NOT_FOUND
    return False


async def test_what_can_not_be_run_again_is_skipped_and_named(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine(lambda request: Say(request.last_message)) as engine,
        shop(temporal_address, sqlite_url, engine) as here,
    ):
        client = here.here.client
        kept, gone = [(await here.here.run("answer", text)).run_id for text in ("blue", "red")]
        other = await here.here.run("relay", 1)
        await client.workflow_service.delete_workflow_execution(
            DeleteWorkflowExecutionRequest(
                namespace=client.namespace, workflow_execution=WorkflowExecution(workflow_id=gone)
            )
        )
        await eventually(lambda: is_gone(client, gone))
        # As if the workflow had taken another input then: of the ledger's word alone, they are runs of `answer`.
        async with here.here.database.begin() as connection:
            renamed = update(runs).where(runs.c.workflow_id == other.run_id).values(workflow="answer")
            await connection.execute(renamed)
        report = await here.backtest("answer", fail_if=["skipped>2", "skipped>1"])
    assert [pair.original.run_id for pair in report.pairs] == [kept]
    assert {skipped.run_id: skipped.why for skipped in report.skipped} == {
        gone: "history_gone", other.run_id: "input_unfit",
    }  # fmt: skip
    assert any("string" in skipped.detail for skipped in report.skipped)
    assert report.failed_by == ["skipped>1"]
