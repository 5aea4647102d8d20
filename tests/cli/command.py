"""The command line in processes of its own, with no other environment than what a test gives."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["PROGRAMS", "Installation", "engine_of", "eventually"]

ROOT = Path(__file__).parents[2]
PROGRAMS = "tests.programs.programs"
UP = "Ctrl-C stops it all."
PATIENCE = 120.0
"""Seconds that a command may take."""


def eventually(condition: Callable[[], bool], *, within: float = 20) -> bool:
    """Whether the condition comes true within so many seconds."""
    deadline = time.monotonic() + within
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return met


@dataclass(frozen=True)
class Installation:
    """A state folder and the settings that commands on it get."""

    state: Path
    settings: dict[str, str] = field(default_factory=dict[str, str])

    def having(self, **settings: str) -> "Installation":
        """The same with more settings, named without their prefix."""
        return Installation(self.state, self.settings | settings)

    @property
    def environment(self) -> dict[str, str]:
        home = str(self.state.parent)
        mine = {f"ORCHESTRATOR_{name}": value for name, value in self.settings.items()}
        return {
            "PATH": os.environ["PATH"],
            "HOME": home,
            "XDG_CONFIG_HOME": home,
            "COLUMNS": "80",
            "ORCHESTRATOR_STATE": str(self.state),
            **mine,
        }

    def call(self, *arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
        """Runs one command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "orchestrator", *arguments],
            cwd=ROOT, env=self.environment, input=given, capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip

    def printed(self, *arguments: str) -> Any:
        """The one JSON value that a command prints."""
        ended = self.call(*arguments)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    @contextmanager
    def started(self, *arguments: str, until: str) -> "Generator[subprocess.Popen[str]]":
        """A command that goes on; the body runs once a line of its standard error has `until` in it."""
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *arguments],
            cwd=ROOT, env=self.environment, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert process.stderr is not None
            lines: list[str] = []
            while until not in (line := process.stderr.readline()):
                lines.append(line)
                assert line, f"it ended with {process.wait(PATIENCE)}: {''.join(lines)}"
            yield process
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
            process.communicate()

    def processes(self) -> list[str]:
        """Command lines of all that runs with this state folder in its environment, which children inherit."""
        mark = f"ORCHESTRATOR_STATE={self.state}\0".encode()
        found: list[str] = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
            except OSError:  # it ended meanwhile, or is somebody else's
                continue
        return found


@contextmanager
def engine_of(*replies: dict[str, Any], script: Path) -> Generator[str]:
    """URL of a scripted engine in a process of its own."""
    script.write_text(json.dumps(replies))
    command = [sys.executable, "-m", "orchestrator.testing.serve", "--script", str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as engine:
        try:
            assert engine.stdout is not None
            yield engine.stdout.readline().rpartition(" ")[2].strip()
        finally:
            engine.terminate()
