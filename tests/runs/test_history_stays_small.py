"""Histories grow with the number of calls, not with its square, and old ones can still be replayed."""

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from orchestrator.steps import RunStatus
from orchestrator.testing import CallTool, Reply, Say, ScriptedRequest, scripted_engine
from tests.bench import bench
from tests.programs import programs

HISTORIES = Path(__file__).parent / "histories"
STEPS = 100


def _stem(path: Path) -> str:
    return path.stem


async def test_a_hundred_tool_calls_and_200_000_tokens_are_under_a_megabyte(
    temporal_address: str, sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def script(request: ScriptedRequest) -> Reply:
        if request.step < STEPS:
            return CallTool("read_page", number=request.step, size=8_000)
        return Say("Everything is blue.")

    async with (
        scripted_engine(script) as engine,
        bench([programs.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run_id = await here.start("tool_loop", {"steps": STEPS + 1})
        run = await here.runs.wait(run_id)
        assert run.status is RunStatus.COMPLETED
        last = engine.requests[-1]
        assert last.request.prompt_tokens > 200_000
        description = await here.client.get_workflow_handle(run_id).describe()
        size = description.raw_description.workflow_execution_info.history_size_bytes
        with capsys.disabled():
            print(f"\n{STEPS} calls, {last.request.prompt_tokens:,} tokens: {size:,} bytes of history")
        assert size < 1_000_000
        assert len(engine.requests) == STEPS + 1
        for before, after in zip(engine.requests, engine.requests[1:], strict=False):
            assert after.cached_tokens >= before.request.prompt_tokens + before.output_tokens - 1


@pytest.mark.parametrize("path", sorted(HISTORIES.glob("*.json")), ids=_stem)
async def test_recorded_histories_replay(path: Path) -> None:
    history = WorkflowHistory.from_json(path.stem, path.read_text())  # noqa: ASYNC240
    replayer = Replayer(workflows=[programs.PlainClass], plugins=[programs.app.plugin()])
    await replayer.replay_workflow(history)
