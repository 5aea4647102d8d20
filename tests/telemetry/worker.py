"""`orchestrator worker` as a process of its own."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

__all__ = ["worker_process"]

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def worker_process(
    temporal: str, database_url: str, engine: str, log: Path, *options: str, **environment: str
) -> Generator[subprocess.Popen[bytes]]:
    """Runs the test programs while the body runs; then it is killed, unless it has ended."""
    variables = {
        **os.environ,
        "TEMPORAL_ADDRESS": temporal,
        "ORCHESTRATOR_DATABASE__URL": database_url,
        "ORCHESTRATOR_ENGINE__URLS": json.dumps([engine]),
        **environment,
    }
    command = [sys.executable, "-m", "orchestrator", "worker", "tests.programs.programs:app", *options]
    with log.open("ab") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
