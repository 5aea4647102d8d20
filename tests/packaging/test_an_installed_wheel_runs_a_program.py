import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from sysconfig import get_path

import pytest

from tests.cli.command import engine_of

PROGRAM = """
from orchestrator import Orchestrator, RunContext

app = Orchestrator("hello")


@app.workflow()
async def greet(ctx: RunContext, name: str) -> str:
    return (await ctx.transcript(system="Be warm.").generate(f"Greet {name}.", max_tokens=32)).text
"""


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel; what it depends on comes from the environment of the tests."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    _run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    python = str(folder / "bin" / "python")
    _run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", str(wheel))
    (packages,) = folder.glob("lib/python*/site-packages")
    # A path file that is found on such a path is not followed, so the editable installation stays out of sight.
    (packages / "dependencies.pth").write_text(get_path("purelib") + "\n")
    return folder


def test_its_command_is_of_the_wheel(environment: Path, tmp_path: Path) -> None:
    python = str(environment / "bin" / "python")
    program = "import orchestrator, orchestrator_migrations as m; print(orchestrator.__file__, m.__file__)"
    files = _run(python, "-c", program, folder=tmp_path).split()
    assert len(files) == 2
    assert all(Path(file).is_relative_to(environment) for file in files)
    shown = _run(str(environment / "bin" / "orchestrator"), "--version", folder=tmp_path)
    assert shown.strip().endswith(version("reasoning-orchestrator"))


def test_it_runs_a_program_of_ones_own(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text(PROGRAM)
    with engine_of({"type": "Say", "text": "Good morning, Ada!"}, script=tmp_path / "script.json") as url:
        command = [str(environment / "bin" / "orchestrator"), "run", "hello:greet", "--input", '"Ada"', "--json"]
        run = json.loads(_run(*command, folder=tmp_path, ORCHESTRATOR_ENGINE__URLS=f'["{url}"]'))
    assert (run["status"], run["result"]) == ("completed", "Good morning, Ada!")


def _run(*command: str, folder: Path | None = None, **settings: str) -> str:
    """Standard output of a command that succeeds."""
    home = {} if folder is None else {"HOME": str(folder), "ORCHESTRATOR_STATE": str(folder / "state")}
    # The program `temporal` is a dependency too.
    path = f"{get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    ended = subprocess.run(
        command, cwd=folder, env={"PATH": path, **home, **settings}, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
