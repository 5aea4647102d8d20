"""A server, and whatever it started, ends with the worker that started it, also where that is killed with -9."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from orchestrator.worker import Role
from tests.bench import bench
from tests.eventually import eventually
from tests.mcp import program

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def _worker_process(temporal: str, database_url: str, log: Path) -> Generator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "TEMPORAL_ADDRESS": temporal, "ORCHESTRATOR_DATABASE__URL": database_url}
    roles = [word for role in Role if role is not Role.ENGINE for word in ("--role", role.value)]
    command = [sys.executable, "-m", "orchestrator", "worker", *roles, "tests.mcp.program:app"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_however_that_ends(
    temporal_address: str,
    sqlite_url: str,
    folder: Path,
    alive: Callable[[], list[int]],
    how: signal.Signals,
) -> None:
    async with bench(
        [program.app], temporal=temporal_address, database_url=sqlite_url, engine=None, workers=False
    ) as here:
        with _worker_process(temporal_address, sqlite_url, folder / "worker.log") as worker:
            run = await here.run("call", {"tool": "breed"})
            assert run.error is None
            assert len(alive()) == 2  # the server, and a shell that heeds no signal but one
            worker.send_signal(how)

            async def all_gone() -> bool:
                return worker.poll() is not None and not alive()

            await eventually(all_gone)
            assert worker.returncode == (-how if how is signal.SIGKILL else 0)
