"""What a server offers is asked once and kept in the history: a server that changes in mid-run changes nothing."""

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from tests.bench import bench, result_of
from tests.mcp import program

HISTORIES = Path(__file__).parent / "histories"


def _stem(path: Path) -> str:
    return path.stem


async def test_while_the_server_changes(temporal_address: str, sqlite_url: str) -> None:
    async with bench([program.app], temporal=temporal_address, database_url=sqlite_url, engine=None) as here:
        run_id = await here.start("look_twice", False)
        before, after = result_of(await here.runs.wait(run_id))
        assert before == after
        assert "close" in after
        assert "reopen" not in after
        assert [row.name for row in await here.charges()] == ["tickets.list_tools", "tickets.change"]
        seen_by_the_next_run = result_of(await here.run("names", "tickets"))
        assert "reopen" in seen_by_the_next_run
        assert "close" not in seen_by_the_next_run
        history = await here.client.get_workflow_handle(run_id).fetch_history()
        await Replayer(workflows=[], plugins=[program.app.plugin()]).replay_workflow(history)


async def test_in_the_run_that_goes_on(temporal_address: str, sqlite_url: str) -> None:
    async with bench([program.app], temporal=temporal_address, database_url=sqlite_url, engine=None) as here:
        (names,) = result_of(await here.run("look_twice", True))
        assert "close" in names
        assert "reopen" not in names
        assert [row.name for row in await here.charges()] == ["tickets.list_tools", "tickets.change"]


@pytest.mark.parametrize("path", sorted(HISTORIES.glob("*.json")), ids=_stem)
async def test_recorded_histories_replay(path: Path) -> None:
    history = WorkflowHistory.from_json(path.stem, path.read_text())  # noqa: ASYNC240
    await Replayer(workflows=[], plugins=[program.app.plugin()]).replay_workflow(history)
