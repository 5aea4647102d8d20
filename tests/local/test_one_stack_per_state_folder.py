import subprocess
import sys
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from orchestrator.errors import ConfigurationError
from orchestrator.local.locks import holding, state_lock

HOLDER = """
import pathlib, sys
from orchestrator.local.locks import state_lock
with state_lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_second_is_refused_with_the_process_of_the_first(tmp_path: Path) -> None:
    with _holder(tmp_path) as holder:
        with (
            pytest.raises(ConfigurationError, match=rf"process {holder.pid}.*ORCHESTRATOR_STATE"),
            state_lock(tmp_path),
        ):
            pass
        holder.communicate()
    with state_lock(tmp_path):
        pass


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    with _holder(tmp_path) as holder:
        holder.kill()
    assert (tmp_path / "stack.lock").read_text() == f"{holder.pid}\n"
    with state_lock(tmp_path):
        pass


async def test_a_waiting_lock_is_had_by_one_task_at_a_time(tmp_path: Path) -> None:
    inside = most = 0

    async def enter() -> None:
        nonlocal inside, most
        async with holding(tmp_path / "lock"):
            inside += 1
            most = max(most, inside)
            await anyio.lowlevel.checkpoint()
            inside -= 1

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(enter)
    assert most == 1


def _holder(state: Path) -> "subprocess.Popen[str]":
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, state], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder
