"""Records the histories that the tests replay: `python -m tests.record_histories`, or `make histories`.

Record anew only where a workflow's commands changed on purpose, under `workflow.patched`; keep the old recordings.
"""

import os
import re
import sysconfig
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
from pydantic import JsonValue

from orchestrator.errors import RequestError
from orchestrator.local import TemporalServer
from orchestrator.session import upgraded_database
from orchestrator.settings import Settings
from orchestrator.testing import Break, CallTool, Reply, Say, ScriptedRequest, scripted_engine
from tests.bench import Bench, bench
from tests.eventually import eventually
from tests.human import program as people
from tests.human.people import answer
from tests.mcp import program
from tests.mcp.conftest import environment
from tests.programs import programs

TESTS = Path(__file__).parent
APPS = [programs.app, program.app, people.app]

RUNS: tuple[tuple[str, str, JsonValue], ...] = (
    ("runs/histories/tool_loop", "tool_loop", {"steps": 4}),
    ("runs/histories/retried_steps", "converse", {"steps": 6}),
    ("runs/histories/structured_after_tools", "state_fact_with_tools", "Tell me."),
    ("runs/histories/parallel_branches", "branches", 3),
    ("runs/histories/failed_tool", "call_one", "broken"),
    ("mcp/histories/server_tools", "help_out", "Mend it."),
    ("mcp/histories/changed_server", "look_twice", False),
    ("human/histories/parallel_questions", "ask_all_kinds", ""),
    ("human/histories/approvals", "serve", "Refund it."),
    ("human/histories/nobody_answered", "ask_in_time", {"seconds": 0.2, "default": True}),
)

ANSWERS: dict[str, JsonValue] = {
    "What is it called?": "it",
    "Are you sure?": True,
    "Which colour?": "red",
    "Which account?": {"name": "savings", "number": 7},
    "May refund be called? Refund an order.": "always",
}
"""What people say."""


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
    if request.last_message == "Mend it.":
        return Say(
            calls=(CallTool("tickets_create", ticket={"number": 1, "title": "a leak"}), CallTool("tickets_fail"))
        )
    if request.last_message == "Refund it.":
        return Say(calls=(CallTool("refund", order="7", dollars=5), CallTool("refund", order="8", dollars=6)))
    return Say("It is blue.")


async def in_peoples_place(here: Bench, run_id: str) -> None:
    """Answers what a run asks, until it has ended."""

    async def has_ended() -> bool:
        for question in await here.runs.inbox.of_run(run_id):
            if question.text in ANSWERS:
                with suppress(RequestError):
                    await answer(here, run_id, question.id, ANSWERS[question.text])
        return (await here.runs.status(run_id)).has_ended

    await eventually(has_ended)


async def record() -> None:
    """Runs each workflow once and keeps its history."""
    with TemporaryDirectory() as folder:
        os.environ |= environment(Path(folder))
        settings = Settings(state=Path(folder))
        server = TemporalServer(log=Path(folder) / "temporal.log", db_file=None, ui=False)
        async with (
            server.start() as temporal,
            scripted_engine(script) as engine,
            upgraded_database(settings),
            bench(APPS, temporal=temporal.address, database_url=settings.database_url, engine=engine.url) as here,
        ):
            for name, workflow, value in RUNS:
                run_id = await here.start(workflow, value)
                await in_peoples_place(here, run_id)
                history = await here.client.get_workflow_handle(run_id).fetch_history()
                text = re.sub(r"\d+@[\w.-]+", "worker", history.to_json())  # no process, no host
                for folder in (Path.cwd(), Path(sysconfig.get_path("stdlib")).parent):
                    text = text.replace(f"{folder}/", "")
                await anyio.Path(TESTS / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    anyio.run(record)
