"""A run that asked replays from its history; so does one that wrote before there were approvals."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from orchestrator.approving import GRANTS
from orchestrator.inbox import OpenQuestion
from tests.bench import Bench
from tests.human.people import answer, asked
from tests.human.program import app
from tests.human.test_the_model_asks_before_it_writes import REFUND, wish


async def _replayed(history: WorkflowHistory) -> None:
    await Replayer(workflows=[], plugins=[app.plugin()]).replay_workflow(history)


async def _history(here: Bench, run_id: str) -> WorkflowHistory:
    return await here.client.get_workflow_handle(run_id).fetch_history()


async def test_a_run_that_asked_replays(here: Bench) -> None:
    run_id = await here.start("ask_all_kinds", "")
    name, sure, colour, account = await asked(here, run_id, 4)
    await _replayed(await _history(here, run_id))
    said: list[tuple[OpenQuestion, JsonValue]] = [
        (colour, "red"),
        (account, {"name": "x", "number": 1}),
        (name, "x"),
        (sure, True),
    ]
    for question, value in said:
        await answer(here, run_id, question.id, value)
    await here.runs.wait(run_id)
    await _replayed(await _history(here, run_id))


async def test_runs_whose_questions_ended_otherwise_replay(here: Bench) -> None:
    late = await here.start("ask_in_time", {"seconds": 0.3, "default": True})
    raced = await here.start("race", "")
    first, _ = await asked(here, raced, 2)
    await answer(here, raced, first.id, "me")
    (last,) = await asked(here, raced)
    await answer(here, raced, last.id, "no")
    for run_id in (late, raced):
        await here.runs.wait(run_id)
        await _replayed(await _history(here, run_id))


@pytest.mark.parametrize("said", ["yes", "no", "always"])
async def test_a_run_that_asked_for_approval_replays(here: Bench, said: str) -> None:
    run_id = await here.start("serve", wish(REFUND, REFUND))
    first, second = await asked(here, run_id, 2)
    await answer(here, run_id, first.id, said)
    if said != "always":
        await answer(here, run_id, second.id, said)
    await here.runs.wait(run_id)
    await _replayed(await _history(here, run_id))


async def test_a_run_that_wrote_before_there_were_approvals_replays(here: Bench) -> None:
    run_id = await here.start("serve", wish(REFUND), grants=["refund"])
    await here.runs.wait(run_id)
    history: dict[str, Any] = json.loads((await _history(here, run_id)).to_json())
    begun = history["events"][0]["workflowExecutionStartedEventAttributes"]
    del begun["memo"]["fields"][GRANTS]  # what such a run did is what a granted one does
    await _replayed(WorkflowHistory.from_json(run_id, history))


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parent / "histories").glob("*.json")), ids=lambda path: path.stem
)
async def test_recorded_histories_replay(path: Path) -> None:
    await _replayed(WorkflowHistory.from_json(path.stem, path.read_text()))  # noqa: ASYNC240
