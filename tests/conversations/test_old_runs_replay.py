"""A run replays from its history; so does one of the time before results were cut, which shows them whole."""

import json
from typing import TYPE_CHECKING, Any

from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from orchestrator.testing import CallTool, Say
from tests.bench import Bench
from tests.conversations.program import app
from tests.conversations.test_long_results_are_read_page_by_page import reader
from tests.conversations.test_the_older_part_becomes_a_summary import answers

if TYPE_CHECKING:
    from tests.conversations.conftest import Stage
else:
    Stage = Any


async def _replayed(history: WorkflowHistory) -> None:
    await Replayer(workflows=[], plugins=[app.plugin()]).replay_workflow(history)


async def _history(here: Bench, workflow: str, value: Any) -> WorkflowHistory:
    run_id = await here.start(workflow, value)
    await here.runs.wait(run_id)
    return await here.client.get_workflow_handle(run_id).fetch_history()


async def test_a_run_that_read_on_replays(here: Bench, stage: Stage) -> None:
    stage.plays(reader(7, 5_000))
    await _replayed(await _history(here, "read", {"show": 2_000}))


async def test_a_run_that_compacted_and_recalled_replays(here: Bench, stage: Stage) -> None:
    stage.plays(answers)
    await _replayed(await _history(here, "talk", {"say": ["a", "b", "c"], "compact_after": 2, "recall": True}))


async def test_a_run_of_before_replays(here: Bench, stage: Stage) -> None:
    stage.plays([CallTool("read_book", number=8, size=900), CallTool("read_book", number=9, size=5_000), Say("ok")])
    history = await _history(here, "read", {"show": 2_000})
    before = _without_patch(json.loads(history.to_json()))
    await _replayed(WorkflowHistory.from_json("before", before))


def _without_patch(history: dict[str, Any]) -> dict[str, Any]:
    """The history that the run would have had before: without the marker, and what follows on it."""
    kept: list[dict[str, Any]] = []
    numbers: dict[str, str] = {}
    for event in history["events"]:
        is_marker = "markerRecordedEventAttributes" in event
        versions = event.get("upsertWorkflowSearchAttributesEventAttributes", {}).get("searchAttributes", {})
        if is_marker or "TemporalChangeVersion" in versions.get("indexedFields", {}):
            continue
        kept.append(event)
        numbers[event["eventId"]] = str(len(kept))
    assert len(kept) < len(history["events"])
    return {"events": [_renumbered(event, numbers) for event in kept]}


def _renumbered(event: dict[str, Any], numbers: dict[str, str]) -> dict[str, Any]:
    """Events refer to one another in their own fields, and in those of their attributes."""
    return {
        key: _renumbered(value, numbers)
        if key.endswith("EventAttributes")
        else numbers.get(value, value)
        if key.endswith(("eventId", "EventId"))
        else value
        for key, value in event.items()
    }
