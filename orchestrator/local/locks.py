"""Locks between processes, as files. The kernel drops them with their holder, so that none is ever stale."""

import fcntl
import os
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO

import anyio

from orchestrator.errors import ConfigurationError

__all__ = ["holding", "state_lock"]


@contextmanager
def state_lock(state: Path) -> Generator[None]:
    """Makes this the only local stack of the folder `state`.

    Raises:
        ConfigurationError: another process has one.
    """
    with _open(state / "stack.lock") as file:
        if not _try_lock(file):
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise ConfigurationError(
                f"a local stack already runs on {state.absolute()} (process {holder})",
                remedy="Stop it, or set ORCHESTRATOR_STATE to another folder.",
            )
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
        file.truncate(0)


@asynccontextmanager
async def holding(path: Path) -> AsyncGenerator[None]:
    """Waits for the lock `path`."""
    with _open(path) as file:
        while not _try_lock(file):  # noqa: ASYNC110 (another process holds it)
            await anyio.sleep(0.2)
        yield


def _open(path: Path) -> IO[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a+", encoding="utf-8")


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
