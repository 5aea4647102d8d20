"""What the kernel says of the sandboxes that run."""

import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

__all__ = ["Peak", "sandboxes", "watching"]

PROC = Path("/proc")


def sandboxes(pid: int | None = None) -> Sequence[Path]:
    """The folders in /proc of all processes of sandboxes that a process runs, or this one: Python's, then Monty's."""
    children = [each for each in _children_of(pid or os.getpid()) if b"child.py" in _text(each / "cmdline")]
    return [*children, *(inner for each in children for inner in _children_of(int(each.name)))]


@dataclass
class Peak:
    """The most memory that a process of a sandbox was seen to have."""

    bytes: int = 0


@asynccontextmanager
async def watching() -> AsyncGenerator[Peak]:
    """Looks at the sandboxes, many times a second, while the body runs."""
    peak = Peak()

    async def watch() -> None:
        while True:
            for process in sandboxes():
                peak.bytes = max(peak.bytes, _most_resident(process))
            await anyio.sleep(0.02)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        yield peak
        tasks.cancel_scope.cancel()


def _children_of(pid: int) -> Sequence[Path]:
    found = [_text(task / "children") for task in (PROC / str(pid) / "task").glob("*")]
    return [PROC / child.decode() for text in found for child in text.split()]


def _most_resident(process: Path) -> int:
    lines = _text(process / "status").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(b"VmHWM:")), 0)


def _text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended
        return b""
