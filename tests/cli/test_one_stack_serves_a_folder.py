import json
import os
import signal
from pathlib import Path

import pytest

from orchestrator.session import RunningStack
from orchestrator.settings import Settings
from tests.cli.command import PROGRAMS, UP, Installation, eventually


def _temporals(installation: Installation) -> list[str]:
    """The servers themselves, without the processes that keep them."""
    return [command for command in installation.processes() if command.split(" ")[0].endswith("/temporal")]


def test_commands_use_the_stack_that_runs(served: Installation) -> None:
    with served.started("dev", f"{PROGRAMS}:app", until=UP) as dev:
        assert len(_temporals(served)) == 1
        ended = served.call("run", f"{PROGRAMS}:think", "--input", '"Say hello."', "--json")
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout)["result"]["text"] == "hello"
        assert ended.stderr.startswith("Stack: ready")
        assert f"the one that process {dev.pid} runs" in ended.stderr
        assert "Temporal" not in ended.stderr
        assert len(_temporals(served)) == 1

        again = served.call("dev", f"{PROGRAMS}:app")
        assert again.returncode == 2
        assert again.stderr.startswith(f"error: a stack runs on {served.state} already (process {dev.pid})")
        assert "ORCHESTRATOR_STATE" in again.stderr
        assert (served.state / "stack.json").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_all_of_it(served: Installation, number: signal.Signals, code: int) -> None:
    with served.started("dev", f"{PROGRAMS}:app", until=UP) as dev:
        dev.send_signal(number)
        _, rest = dev.communicate(timeout=30)
    assert dev.returncode == code
    assert "Traceback" not in rest
    assert eventually(lambda: served.processes() == [])
    assert not (served.state / "stack.json").exists()


def test_the_note_of_a_killed_process_counts_for_nothing(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path)
    # Its process id is in use, as it is after a restart of a container.
    stack = RunningStack(
        pid=os.getpid(), temporal_address="127.0.0.1:1", temporal_ui=None, engine_urls=(), api_url=None, apps=()
    )
    with stack.noted(settings):
        assert RunningStack.find(settings) == stack
    assert RunningStack.find(settings) is None
    (tmp_path / "stack.json").write_text(stack.model_dump_json())
    assert RunningStack.find(settings) is None
