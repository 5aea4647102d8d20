"""Questions of runs below a run, and of runs that go on as new ones."""

import pytest

from orchestrator.errors import RunHasEnded, UnknownName
from orchestrator.steps import RunStatus
from tests.bench import Bench
from tests.eventually import eventually
from tests.human.people import answer, asked, events_of


async def test_what_a_run_below_asks_is_answered_through_the_run_above(here: Bench) -> None:
    run_id = await here.start("delegate", ["a", "b"])
    (question,) = await asked(here, run_id)
    assert question.run_id.startswith(f"{run_id}/choose-")
    assert question.workflow == "choose"
    assert await here.runs.inbox.of_run(question.run_id) == [question]
    with pytest.raises(UnknownName, match="no question is called 'nothing'"):
        await answer(here, run_id, "nothing", "a")
    assert await answer(here, run_id, question.id, "a")
    assert (await here.runs.wait(run_id)).result == "a"
    with pytest.raises(RunHasEnded):
        await answer(here, run_id, question.id, "b")


async def test_a_run_that_goes_on_as_a_new_one_leaves_no_question_behind(here: Bench) -> None:
    run_id = await here.start("relay", 2)
    (question,) = await asked(here, run_id)
    assert question.text == "2 left?"
    assert await answer(here, run_id, question.id, "yes")
    handle = here.client.get_workflow_handle(run_id)

    async def sleeps() -> bool:
        history = await handle.fetch_history()
        return any(event.HasField("timer_started_event_attributes") for event in history.events)

    await eventually(sleeps)
    run = await here.runs.run(run_id)
    assert (run.status, run.waiting) == (RunStatus.RUNNING, None)
    assert await here.runs.inbox.of_run(run_id) == []


async def test_a_run_that_ends_leaves_no_question_behind(here: Bench) -> None:
    run_id = await here.start("leave_open", 3)
    run = await here.runs.wait(run_id)
    assert (run.status, run.waiting, run.result) == (RunStatus.COMPLETED, None, "page 3")
    assert [event.type for event in await events_of(here, run_id)] == ["question.asked", "question.withdrawn"]
