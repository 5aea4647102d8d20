import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from orchestrator.local.processes import supervised

ROOT = Path(__file__).parents[2]

SLEEPERS = """# A shell that doesn't heed SIGTERM, with two children.
import anyio, pathlib
from orchestrator.local.processes import supervised

async def main():
    log = pathlib.Path({folder!r}) / "sleepers.log"
    command = ["sh", "-c", "sleep 1000 & sleep 1000 & trap '' TERM; wait; wait; wait"]
    async with supervised("sleepers", command, log=log):
        print("up", flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""

ENGINE = """
import anyio, pathlib
from orchestrator.local import EngineServer, prepare_model
from orchestrator.settings import EngineSettings, Settings

async def main():
    root, folder = pathlib.Path({root!r}), pathlib.Path({folder!r})
    settings = Settings(state=root / ".orchestrator", engine=EngineSettings(environment=root / ".venv-engine"))
    model = await prepare_model(settings)
    print("loading", flush=True)
    server = EngineServer(environment=settings.engine.environment, model=model, log=folder / "sglang.log")
    async with server.start():
        print("serving", flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


@dataclass(frozen=True)
class Process:
    """One process; its start tells it from a later one with the same number."""

    pid: int
    parent: int
    start: int
    state: str

    @classmethod
    def all(cls) -> "list[Process]":
        found = (cls.read(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        return [process for process in found if process is not None]

    @classmethod
    def read(cls, pid: int) -> "Process | None":
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return cls(pid, parent=int(fields[1]), start=int(fields[19]), state=fields[0])

    @property
    def command(self) -> str:
        try:
            return Path(f"/proc/{self.pid}/cmdline").read_text().replace("\0", " ")
        except OSError:
            return ""

    @property
    def lives(self) -> bool:
        present = self.read(self.pid)
        return present is not None and present.start == self.start and present.state not in "ZX"


class Owner:
    """A Python program that starts parts, and may be killed."""

    def __init__(self, program: str) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)

    def descendants(self) -> list[Process]:
        """Whatever it started, directly or not."""
        processes, known = Process.all(), {self.process.pid}
        while new := [each for each in processes if each.parent in known and each.pid not in known]:
            known |= {each.pid for each in new}
        return [each for each in processes if each.pid in known - {self.process.pid}]

    def line(self) -> str:
        """Its next line of output."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


StartOwner = Callable[[str], Owner]


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Callable[[str], Owner]]:
    """Starts an owner; it is killed after the test."""
    owners: list[Owner] = []

    def start(program: str) -> Owner:
        owners.append(Owner(program.format(root=str(ROOT), folder=str(tmp_path))))
        return owners[-1]

    yield start
    for each in owners:
        each.close()


def eventually(condition: Callable[[], bool], *, within: float) -> bool:
    """Whether the condition comes true within so many seconds."""
    deadline = time.monotonic() + within
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return met


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_owner_takes_every_descendant_along(owner: StartOwner, number: signal.Signals) -> None:
    program = owner(SLEEPERS)
    assert program.line() == "up"
    # The keeper, the shell and its two children.
    assert eventually(lambda: len(program.descendants()) == 4, within=10)
    assert_gone_after(program, number)


async def test_a_normal_end_leaves_no_child_behind(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    async def started() -> bool:
        return bool(pids.exists() and pids.read_text().strip())

    command = f"sleep 1000 & echo $! > {pids}; exec sleep 1000"
    async with supervised("sleepers", ["sh", "-c", command], log=tmp_path / "log") as part:
        await part.until(started, within=timedelta(seconds=10))
    assert Process.read(int(pids.read_text())) is None


async def test_a_cancelled_start_leaves_no_child_behind(tmp_path: Path) -> None:
    command = ["sleep", f"1000.{time.monotonic_ns()}"]
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with supervised("sleeper", command, log=tmp_path / "log"):
            await anyio.lowlevel.checkpoint()
    assert not any(command[1] in process.command for process in Process.all())


async def test_what_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    log, grace = tmp_path / "log", timedelta(seconds=0.3)

    async def started() -> bool:
        return "up" in log.read_text()

    command = "trap '' TERM; echo up; while true; do sleep 0.05; done"
    async with supervised("stubborn", ["sh", "-c", command], log=log, grace=grace) as part:
        await part.until(started, within=timedelta(seconds=10))
        began = time.monotonic()
    assert 0.3 <= time.monotonic() - began < 5


@pytest.mark.engine
def test_a_killed_owner_takes_an_engine_that_still_loads_along(owner: StartOwner) -> None:
    program = owner(ENGINE)
    assert program.line() == "loading"
    # The keeper, the launcher, multiprocessing's tracker and the scheduler, which has yet to import what would make it
    # end with its parent.
    assert eventually(lambda: len(program.descendants()) >= 4, within=120)
    assert_gone_after(program, signal.SIGKILL)


@pytest.mark.engine
def test_a_killed_owner_takes_a_serving_engine_along(owner: StartOwner) -> None:
    program = owner(ENGINE)
    assert [program.line(), program.line()] == ["loading", "serving"]
    assert len(program.descendants()) >= 5
    assert_gone_after(program, signal.SIGKILL)


def assert_gone_after(program: Owner, number: signal.Signals) -> None:
    descendants = program.descendants()
    program.process.send_signal(number)
    program.process.wait(10)
    assert eventually(lambda: not any(each.lives for each in descendants), within=10)
