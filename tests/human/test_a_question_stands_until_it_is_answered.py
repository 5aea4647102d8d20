"""A question stands open, durably and at no cost, until the first answer that fits."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import timedelta

import pytest
from pydantic import JsonValue
from temporalio.api.sdk.v1 import WorkflowMetadata

from orchestrator.errors import InvalidAnswer, QuestionClosed, RunHasEnded, UnknownName
from orchestrator.history import RunEvent
from orchestrator.questions import QUESTIONS, Answer, Question
from orchestrator.standing import WAITING
from orchestrator.steps import RunStatus
from tests.bench import Bench
from tests.eventually import eventually
from tests.human.people import answer, asked, events_of


async def test_parallel_questions_are_answered_in_any_order(here: Bench) -> None:
    run_id = await here.start("ask_all_kinds", "")
    questions = {question.text: question for question in await asked(here, run_id, 4)}
    run = await here.runs.run(run_id)
    assert (run.status, run.waiting) == (RunStatus.PAUSED, "person, person: billing")
    answers: Sequence[tuple[str, JsonValue]] = (
        ("Which account?", {"name": "savings", "number": 7}),
        ("Which colour?", "blue"),
        ("What is it called?", "42"),
        ("Are you sure?", False),
    )
    for left, (text, value) in zip((3, 2, 1), answers[:3], strict=True):
        assert await answer(here, run_id, questions[text].id, value)
        await asked(here, run_id, left)
    assert (await here.runs.run(run_id)).waiting == "person: billing"
    assert await answer(here, run_id, questions["Are you sure?"].id, False)
    run = await here.runs.wait(run_id)
    assert (run.status, run.waiting) == (RunStatus.COMPLETED, None)
    assert run.result == ["42", False, "blue", 7]


async def test_temporal_shows_what_is_asked_and_of_whom(here: Bench) -> None:
    run_id = await here.start("choose", ["a", "b"])
    (question,) = await asked(here, run_id)
    handle = here.client.get_workflow_handle(run_id)
    assert (await handle.describe()).typed_search_attributes.get(WAITING) == "person: billing"
    metadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    assert metadata.current_details == f"**Asks billing** (`{question.id}`): Which account?"
    (same,) = await handle.query(QUESTIONS, result_type=list[Question])
    assert same == Question(**question.model_dump(exclude={"run_id", "workflow"}))
    await answer(here, run_id, question.id, "b")
    assert (await here.runs.wait(run_id)).result == "b"
    metadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    assert metadata.current_details == ""
    assert await handle.query(QUESTIONS) == []


@pytest.mark.parametrize(
    ("text", "wrong", "problem"),
    [
        ("What is it called?", 5, "valid string"),
        ("What is it called?", None, "valid string"),
        ("Are you sure?", "perhaps", "valid boolean"),
        ("Which colour?", "green", "'red' or 'blue'"),
        ("Which account?", {"name": "x"}, "number: Field required"),
        ("Which account?", {"name": "x", "number": 13}, "KeyError: 'there is no account 13'"),
        ("Which account?", "{", "should be an object"),
    ],
)
async def test_what_does_not_fit_is_refused_and_the_question_stays(
    here: Bench, text: str, wrong: JsonValue, problem: str
) -> None:
    run_id = await here.start("ask_all_kinds", "")
    questions = await asked(here, run_id, 4)
    (question,) = (question for question in questions if question.text == text)
    with pytest.raises(InvalidAnswer, match="stays open") as refused:
        await answer(here, run_id, question.id, wrong)
    assert problem in refused.value.problem
    assert await asked(here, run_id, 4) == questions


async def test_only_a_choice_is_an_answer(here: Bench) -> None:
    run_id = await here.start("choose", ["a", "b"])
    (question,) = await asked(here, run_id)
    assert question.choices == ("a", "b")
    assert question.answer_schema == {"type": "string", "enum": ["a", "b"]}
    with pytest.raises(InvalidAnswer, match='it is none of "a", "b"'):
        await answer(here, run_id, question.id, "c")
    await answer(here, run_id, question.id, "a")


async def test_the_first_answer_counts(here: Bench) -> None:
    run_id = await here.start("ask_all_kinds", "")
    question = (await asked(here, run_id, 4))[0]
    given = [answer(here, run_id, question.id, f"name {number}") for number in range(5)]
    results = await asyncio.gather(*given, return_exceptions=True)
    (taken,) = (number for number, result in enumerate(results) if result is True)
    closed = [result for result in results if isinstance(result, QuestionClosed)]
    assert len(closed) == 4
    assert {error.how for error in closed} == {"answered"}
    *_, last = [event async for event in _questions_of(here, run_id, 5)]
    assert (last.type, last.summary) == ("question.answered", f"name {taken}")


async def _questions_of(here: Bench, run_id: str, count: int) -> AsyncGenerator[RunEvent]:
    """The first events of a run that are about questions."""
    async with aclosing(here.runs.events(run_id)) as events:
        async for event in events:
            if event.question is not None:
                yield event
                count -= 1
            if not count:
                return


async def test_nobody_answers_in_time(here: Bench) -> None:
    with_default = await here.start("ask_in_time", {"seconds": 0.5, "default": True})
    without = await here.start("ask_in_time", {"seconds": 0.5})
    assert (await here.runs.wait(with_default)).result == "default None"

    async def gave_up() -> bool:
        return [each.text for each in await here.runs.inbox.of_run(without)] == ["Why not?"]

    await eventually(gave_up)
    asks = [event async for event in _questions_of(here, without, 3)]
    assert [event.type for event in asks] == ["question.asked", "question.timed_out", "question.asked"]
    with pytest.raises(QuestionClosed, match="wasn't answered in time"):
        await answer(here, without, asks[0].question or "", True)
    (why,) = await asked(here, without)
    await answer(here, without, why.id, "I slept.")
    run = await here.runs.wait(without)
    assert run.error is not None
    assert run.error.type == "HumanTimedOut"
    assert "nobody answered 'Go on?' within 0.5 s" in run.error.message
    kinds = [event.type for event in await events_of(here, without)]
    assert kinds == ["question.asked", "question.timed_out", "question.asked", "question.answered"]


async def test_an_answer_in_time_is_no_default(here: Bench) -> None:
    run_id = await here.start("ask_in_time", {"seconds": 60, "default": True})
    (question,) = await asked(here, run_id)
    assert question.until is not None
    assert question.until - question.asked_at == timedelta(seconds=60)
    await answer(here, run_id, question.id, "yes")
    assert (await here.runs.wait(run_id)).result == "default True"


async def test_a_question_whose_branch_is_cancelled_is_withdrawn(here: Bench) -> None:
    run_id = await here.start("race", "")
    first, second = await asked(here, run_id, 2)
    await answer(here, run_id, second.id, "me")
    (last,) = await asked(here, run_id)
    with pytest.raises(QuestionClosed, match="isn't asked any more"):
        await answer(here, run_id, first.id, "me too")
    await answer(here, run_id, last.id, "no")
    assert (await here.runs.wait(run_id)).result == "me"
    with pytest.raises(RunHasEnded, match="completed"):
        await answer(here, run_id, last.id, "yes")


async def test_a_cancelled_run_asks_nothing(here: Bench) -> None:
    run_id = await here.start("choose", ["a"])
    (question,) = await asked(here, run_id)
    await here.runs.cancel(run_id)
    run = await here.runs.wait(run_id)
    assert (run.status, run.waiting) == (RunStatus.CANCELLED, None)
    assert await here.runs.inbox.of_run(run_id) == []
    with pytest.raises(RunHasEnded, match="cancelled"):
        await answer(here, run_id, question.id, "a")


async def test_names_that_are_not_there_are_unknown(here: Bench) -> None:
    run_id = await here.start("choose", ["a"])
    (question,) = await asked(here, run_id)
    with pytest.raises(UnknownName, match=f"no question is called 'nothing': there is '{question.id}'"):
        await answer(here, run_id, "nothing", "a")
    with pytest.raises(UnknownName, match="no run is called 'nobody'"):
        await answer(here, "nobody", question.id, "a")
    inbox = here.runs.inbox
    with pytest.raises(UnknownName, match="no run"):
        await inbox.answer(run_id, Answer(question=question.id, answer="a"), tenant="stranger")
    with pytest.raises(UnknownName, match="no run"):
        await inbox.of_run(run_id, tenant="stranger")
    assert await inbox.all(tenant="stranger") == []
    assert await asked(here, run_id) == [question]


async def test_all_open_questions_are_listed(here: Bench) -> None:
    first = await here.start("choose", ["a"])
    await asked(here, first)
    second = await here.start("ask_all_kinds", "")
    await asked(here, second, 4)

    async def listed() -> bool:
        runs = [question.run_id for question in await here.runs.inbox.all(tenant="default", limit=1000)]
        return [run for run in runs if run in (first, second)] == [first, *[second] * 4]

    await eventually(listed)
    billing = await here.runs.inbox.all(tenant=None, to="billing", limit=1000)
    assert {(question.run_id, question.text) for question in billing} >= {
        (first, "Which account?"),
        (second, "Are you sure?"),
    }
    assert {question.to for question in billing} == {"billing"}


async def test_long_questions_are_cut_where_many_are_shown(here: Bench) -> None:
    run_id = await here.start("ask_long", 50_000)
    (question,) = await asked(here, run_id)
    assert (question.text, question.is_cut) == ("x" * 50_000, False)
    (cut,) = [each for each in await here.runs.inbox.all(tenant=None, limit=1000) if each.run_id == run_id]
    assert cut.is_cut
    assert cut.text == "x" * 2_000 + "… (50,000 characters in all)"


async def test_no_more_stand_open_than_temporal_can_hold(here: Bench) -> None:
    run_id = await here.start("ask_many", 103)
    questions = await asked(here, run_id, 100)
    for question in questions[:3]:
        await answer(here, run_id, question.id, 1)
    questions = await asked(here, run_id, 100)
    assert [question.text for question in questions[-3:]] == ["Number 100?", "Number 101?", "Number 102?"]


async def test_large_questions_take_their_turns(here: Bench) -> None:
    run_id = await here.start("ask_at_large", 8)
    questions = await asked(here, run_id, 5)  # of 200 KB each
    await answer(here, run_id, questions[0].id, "a" * 50_000)
    assert [question.text for question in await asked(here, run_id, 5)][-1] == "Draft 5?"


async def test_waiting_for_people_costs_no_time_of_the_budget(here: Bench) -> None:
    run_id = await here.start("hurry", "")
    (question,) = await asked(here, run_id)
    await here.run("ask_in_time", {"seconds": 4.2, "default": True})  # longer than the budget's four seconds
    await answer(here, run_id, question.id, "now")
    run = await here.runs.wait(run_id)
    assert (run.status, run.result) == (RunStatus.COMPLETED, "page 1")
    assert run.closed_at is not None
    assert run.closed_at - run.started_at > timedelta(seconds=4)
    receipt = await here.runs.receipt(run_id)
    assert (receipt.path, run.receipt.cost, run.receipt.steps) == ("ask_human > look", 0, 1)


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ("empty", "the question is empty"),
        ("no choices", "its choices are none"),
        ("wrong choice", "its choice 'one' doesn't fit its output"),
        ("no schema", "no JSON schema can be made of its output"),
        ("no time", "its timeout isn't positive"),
        ("useless default", "its default would never be used"),
        ("large choices", "make it 400,"),
        ("long label", "'to' has 101 characters"),
    ],
)
async def test_a_question_that_cannot_be_asked_ends_the_run(here: Bench, how: str, problem: str) -> None:
    run = await here.run("ask_badly", how)
    assert run.error is not None
    assert run.error.type == "DefinitionError"
    assert problem in run.error.message
