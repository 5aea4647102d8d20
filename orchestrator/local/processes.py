"""A part of the local stack that runs as a process of its own, and can't outlive this one.

The process runs under `orchestrator/keeper.py`, which says how it ends. May import nothing of the rest of the stack.
"""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, NoReturn

import anyio
from anyio.abc import Process

from orchestrator.errors import OrchestratorError

__all__ = ["Part", "PartNotReady", "PartStopped", "supervised"]

KEEPER = Path(__file__).parents[1] / "keeper.py"
TAIL = 15
"""Lines of the log that an error shows."""
KEEPER_SLACK = 10
"""Seconds beyond the grace that the keeper may take to clear up."""


class PartStopped(OrchestratorError):
    """A part of the local stack ended without being asked to."""

    status = 503

    def __init__(self, part: str, *, code: int, log: Path) -> None:
        self.part, self.code, self.log, self.tail = part, code, log, tail(log)
        super().__init__(f"{part} stopped ({_how(code)}). {_quoted(log, self.tail)}")


class PartNotReady(OrchestratorError):
    """A part of the local stack runs, but doesn't answer."""

    status = 503

    def __init__(self, part: str, *, waited: timedelta, log: Path) -> None:
        self.part, self.waited, self.log, self.tail = part, waited, log, tail(log)
        super().__init__(f"{part} isn't ready after {waited.total_seconds():g} s. {_quoted(log, self.tail)}")


class Part:
    """A running process of the local stack."""

    def __init__(self, name: str, log: Path, process: Process) -> None:
        self.name, self.log = name, log
        self._process = process

    async def ended(self) -> int:
        """The exit code, once the process has ended: 128 + n where signal n ended it."""
        return _as_shell(await self._process.wait())

    @property
    def pid(self) -> int:
        """Of the process that keeps the part; whatever kills it, kills the part."""
        return self._process.pid

    async def crash(self) -> NoReturn:
        """Waits for an end that nobody asked for.

        Raises:
            PartStopped: always.
        """
        raise PartStopped(self.name, code=await self.ended(), log=self.log)

    async def until(
        self, ready: Callable[[], Awaitable[bool]], *, within: timedelta, every: timedelta = timedelta(seconds=0.1)
    ) -> None:
        """Returns as soon as `ready` says so; it is asked again and again.

        Raises:
            PartStopped: the process ended first.
            PartNotReady: the time is over.
        """
        with anyio.move_on_after(within.total_seconds()):
            while self._process.returncode is None:
                if await ready():
                    return
                await anyio.sleep(every.total_seconds())
            await self.crash()
        raise PartNotReady(self.name, waited=within, log=self.log)


@asynccontextmanager
async def supervised(
    name: str,
    command: Sequence[str | Path],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    grace: timedelta = timedelta(seconds=5),
) -> AsyncGenerator[Part]:
    """Starts `command` in a process group of its own, with its output in `log`; at the end nothing of it is left.

    Args:
        environment: what differs from this process's own.
        grace: between SIGTERM and SIGKILL.
    """
    keeper = [sys.executable, "-I", str(KEEPER), str(os.getpid()), str(grace.total_seconds())]
    process = await _start([*keeper, *map(str, command)], log, {**os.environ, **(environment or {})})
    try:
        yield Part(name, log, process)
    finally:
        with anyio.CancelScope(shield=True):
            await _stop(process, grace)


async def _start(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> Process:
    # Shielded: cancelled in the middle, asyncio would leave a process that nobody knows.
    with _fresh(log) as output, anyio.CancelScope(shield=True):
        return await anyio.open_process(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C in the terminal is for us alone; we end the parts in order
        )
    raise AssertionError("a shielded scope swallowed a cancellation")


async def _stop(process: Process, grace: timedelta) -> None:
    if process.returncode is None:
        process.terminate()
    with anyio.move_on_after(grace.total_seconds() + KEEPER_SLACK):
        await process.wait()
    await process.aclose()  # kills a keeper that hangs, and by PR_SET_PDEATHSIG its command


def tail(log: Path, lines: int = TAIL) -> str:
    """The last lines of a log, or nothing if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 400 * lines))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def _fresh(log: Path) -> BinaryIO:
    log.parent.mkdir(parents=True, exist_ok=True)
    return log.open("wb")


def _quoted(log: Path, last: str) -> str:
    return f"The end of {log}:\n{last}" if last else f"{log} is empty"


def _as_shell(code: int) -> int:
    return code if code >= 0 else 128 - code


def _how(code: int) -> str:
    if code > 128:
        try:
            return f"ended by {signal.Signals(code - 128).name}"
        except ValueError:
            pass
    return f"exit code {code}"
