import time
from pathlib import Path

import pytest

from orchestrator.steps import RunStatus
from orchestrator.testing import CallTool, Say, scripted_engine
from tests.bench import bench
from tests.eventually import eventually
from tests.tools import granted
from tests.tools.processes import sandboxes


async def test_what_tools_say_reaches_the_model(
    temporal_address: str, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "granted").mkdir()
    (tmp_path / "secret.txt").write_text("a secret")
    script = [
        CallTool("python", code="print('six times seven')\n6 * 7"),
        CallTool("python", code="import socket"),
        CallTool("write_file", path="notes/a.txt", content="Hello"),
        CallTool("read_file", path="notes/a.txt"),
        CallTool("read_file", path="../secret.txt"),
        CallTool("http_get", url="http://169.254.169.254/latest/meta-data/"),
        Say("Done."),
    ]
    async with (
        scripted_engine(script) as engine,
        bench([granted.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("loop", "Go.")
    assert run.result == "Done."
    said = [record.request.last_message for record in engine.requests[1:]]
    assert said[0] == '{"printed":"six times seven\\n","value":"42","error":null}'
    assert '"kind":"ModuleNotFoundError","message":"No module named \'socket\'"' in said[1]
    assert said[2] == "notes/a.txt has 5 bytes now"
    assert said[3] == '{"text":"Hello","size":5,"next_offset":null}'
    assert said[4].startswith("error: the input of tool 'read_file' is invalid: '../secret.txt' leads out")
    assert said[5].endswith("'169.254.169.254' has an address that is not public")
    assert (tmp_path / "granted" / "notes" / "a.txt").read_text() == "Hello"


async def test_a_workflow_checks_a_program(temporal_address: str, sqlite_url: str) -> None:
    async with bench([granted.app], temporal=temporal_address, database_url=sqlite_url, engine=None) as here:
        assert (await here.run("check", "def double(x): return 2 * x")).result == "'passed'"
        assert (await here.run("check", "def double(x): return x")).result == "AssertionError: assert 2 == 4"


async def test_a_run_that_is_cancelled_ends_its_sandbox(temporal_address: str, sqlite_url: str) -> None:
    async with bench([granted.app], temporal=temporal_address, database_url=sqlite_url, engine=None) as here:
        run_id = await here.start("check", "while True: pass")

        async def started() -> bool:
            return len(sandboxes()) == 2

        async def ended() -> bool:
            return not sandboxes()

        await eventually(started)
        began = time.perf_counter()
        await here.client.get_workflow_handle(run_id).cancel()
        await eventually(ended)
        assert time.perf_counter() - began < 4  # of the five seconds that the program has
        assert (await here.runs.wait(run_id)).status is RunStatus.CANCELLED
