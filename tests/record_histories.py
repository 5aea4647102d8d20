"""Records the histories that `tests/runs` replays: `python -m tests.record_histories`, or `make histories`.

Record anew only where a workflow's commands changed on purpose, under `workflow.patched`; keep the old recordings.
"""

import re
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
from pydantic import JsonValue

from orchestrator.local import TemporalServer
from orchestrator.session import upgraded_database
from orchestrator.settings import Settings
from orchestrator.testing import Break, CallTool, Reply, Say, ScriptedRequest, scripted_engine
from tests.bench import bench
from tests.programs import programs

HISTORIES = Path(__file__).parent / "runs" / "histories"

RUNS: tuple[tuple[str, str, JsonValue], ...] = (
    ("tool_loop", "tool_loop", {"steps": 4}),
    ("retried_steps", "converse", {"steps": 6}),
    ("structured_after_tools", "state_fact_with_tools", "Tell me."),
    ("parallel_branches", "branches", 3),
    ("failed_tool", "call_one", "broken"),
)


def script(request: ScriptedRequest) -> Reply:
    """Enough of everything: tools, structured replies, a connection that breaks."""
    if "Go on with 3." in request.last_message and request.attempt == 1:
        return Break(after_tokens=5)
    if request.last_message == "What is blue?":
        return Say(calls=(CallTool("read_page", number=1, size=2_000), CallTool("calculator", expression="6*7")))
    if request.last_message == "Tell me.":
        return CallTool("broken")
    if "JSON" in request.last_message or "on fire" in request.last_message:
        return Say(json={"name": "sky", "value": 3})
    return Say("It is blue.")


async def record() -> None:
    """Runs each workflow once and keeps its history."""
    HISTORIES.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        settings = Settings(state=Path(folder))
        server = TemporalServer(log=Path(folder) / "temporal.log", db_file=None, ui=False)
        async with (
            server.start() as temporal,
            scripted_engine(script) as engine,
            upgraded_database(settings),
            bench(
                [programs.app], temporal=temporal.address, database_url=settings.database_url, engine=engine.url
            ) as here,
        ):
            for name, workflow, value in RUNS:
                run_id = await here.start(workflow, value)
                await here.runs.wait(run_id)
                history = await here.client.get_workflow_handle(run_id).fetch_history()
                text = re.sub(r"\d+@[\w.-]+", "worker", history.to_json())  # no process, no host
                for folder in (Path.cwd(), Path(sysconfig.get_path("stdlib")).parent):
                    text = text.replace(f"{folder}/", "")
                await anyio.Path(HISTORIES / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    anyio.run(record)
