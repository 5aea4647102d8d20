"""Starts a sandbox's process, asks it, and ends it: in time, when cancelled, and whatever it does."""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from subprocess import DEVNULL, PIPE

import anyio
from anyio.abc import Process
from anyio.lowlevel import RunVar
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from orchestrator.errors import ConfigurationError, InvalidInput

__all__ = ["MAX_CODE", "PythonError", "PythonResult", "run_python"]

MAX_CODE = 1_000_000
"""Characters of JSON that code and inputs may take."""
CHARACTERS = 16_000
"""Of what is printed, of a value and of an error's message: what is longer is cut, and the cut noted."""
MAX_ANSWER = 6 * 4 * CHARACTERS
"""Bytes that a sandbox may answer; JSON may write one character as 6."""
START = timedelta(seconds=10)
"""How long a process may take to start, on a machine that has other things to do."""
MEMORY = 64 * 1024 * 1024
CHILD = Path(__file__).with_name("child.py")


class PythonError(BaseModel):
    """What went wrong in a program."""

    model_config = ConfigDict(frozen=True)

    kind: str
    """Name of the exception. `TimeoutError` and `MemoryError` also stand for the sandbox's own limits, and
    `SandboxStopped` for a program at which the sandbox itself died."""
    message: str
    where: tuple[str, ...] = ()
    """Lines of the traceback, the innermost last."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}" if self.message else self.kind


class PythonResult(BaseModel):
    """What a program printed, and its value or what went wrong."""

    model_config = ConfigDict(frozen=True)

    printed: str = ""
    value: str | None = None
    """The `repr` of the expression that the program ends with; `None` if it ends with none, or that is `None`."""
    error: PythonError | None = None


class _Answer(PythonResult):
    missing: str | None = None
    """What of the installation is, so that nothing was run."""


_running: RunVar[anyio.CapacityLimiter] = RunVar("sandboxes running")


async def run_python(
    code: str,
    *,
    inputs: Mapping[str, JsonValue] | None = None,
    timeout: timedelta = timedelta(seconds=5),
    memory: int = MEMORY,
) -> PythonResult:
    """Runs a program that nobody has read, such as one that a model wrote.

    It can import a part of the standard library, and reach no file, no network and no other process. Whatever it
    does is a result: a program that fails, hangs or takes too much has an `error`. To check a program, run it with
    assertions after it. Does I/O: call it in a tool, never in a workflow.

    Args:
        code: the program, in the part of Python that Monty knows.
        inputs: values that it finds under these names.
        timeout: of the program; the process that runs it has a little more.
        memory: bytes that its values may take; the process that runs it has a few times more.

    Raises:
        InvalidInput: code and inputs are too large, an input's name is none, or there is no time or room.
        ConfigurationError: there is no sandbox in this installation.
    """
    if timeout <= timedelta(0) or memory <= 0:
        raise InvalidInput("run_python", f"timeout={timeout} and memory={memory} must be positive")
    for name in inputs or {}:
        if not name.isidentifier():
            raise InvalidInput("run_python", f"no variable can be called {name!r}")
    request = {
        "code": code,
        "inputs": dict(inputs or {}),
        "seconds": timeout.total_seconds(),
        "memory": memory,
        "characters": CHARACTERS,
    }
    line = json.dumps(request) + "\n"
    if len(line) > MAX_CODE:
        raise InvalidInput("run_python", f"code and inputs take {len(line):,} characters, more than {MAX_CODE:,}")
    async with _limiter():
        answer = await _ask(line.encode(), within=timeout + START)
    if answer.missing is not None:
        raise ConfigurationError(
            f"there is no sandbox for Python here ({answer.missing})", remedy="Install 'pydantic-monty'."
        )
    return PythonResult(printed=answer.printed, value=answer.value, error=answer.error)


def _limiter() -> anyio.CapacityLimiter:
    """As many sandboxes at once as there are processors: more would only wait for each other, in memory."""
    try:
        return _running.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(os.cpu_count() or 1)
        _running.set(limiter)
        return limiter


async def _ask(line: bytes, *, within: timedelta) -> _Answer:
    answer = b""
    process = await anyio.open_process(
        [sys.executable, "-I", str(CHILD)], stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env={}, start_new_session=True
    )
    try:
        with anyio.move_on_after(within.total_seconds()) as scope:
            answer = await _exchange(process, line)
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process)
    if scope.cancelled_caught:
        error = PythonError(kind="TimeoutError", message=f"stopped after {within.total_seconds():g} s")
        return _Answer(error=error)
    try:
        return _Answer.model_validate_json(answer)
    except ValidationError:
        return _Answer(error=PythonError(kind="SandboxStopped", message="the program took more than it may"))


async def _exchange(process: Process, line: bytes) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    answer = bytearray()
    try:
        await process.stdin.send(line)
        while not answer.endswith(b"\n") and len(answer) <= MAX_ANSWER:
            answer += await process.stdout.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return b""
    return bytes(answer)


async def _end(process: Process) -> None:
    """Ends the process and what it has started, which is in the same process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.aclose()
