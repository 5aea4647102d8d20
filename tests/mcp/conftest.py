"""The folder of the ticket server, and what it did."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TOKEN = "tok-5e7c2a91"


def environment(folder: Path) -> dict[str, str]:
    """What the programs' servers need; their command is this Python by its name, so that no history has its path."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"PATH": path, "TICKETS_FOLDER": str(folder), "TICKETS_TOKEN": TOKEN}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the test's ticket servers write."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    return tmp_path


@pytest.fixture
def done(folder: Path) -> Callable[[str], int]:
    """How often a server of the test did something."""

    def lines(name: str) -> int:
        path = folder / name
        return len(path.read_text().splitlines()) if path.exists() else 0

    return lines


@pytest.fixture
def alive(folder: Path) -> Callable[[], list[int]]:
    """Which of the test's servers, and of their children, still run."""

    def running() -> list[int]:
        path = folder / "pids"
        return [pid for pid in map(int, path.read_text().split() if path.exists() else ()) if is_alive(pid)]

    return running


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie doesn't."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
