"""`orchestrator worker` as a process of its own."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from pathlib import Path

__all__ = ["worker_process"]

ROOT = Path(__file__).parents[1]


@contextlib.contextmanager
def worker_process(
    temporal: str,
    database_url: str,
    engine: str | None,
    log: Path,
    *,
    app: str = "tests.programs.programs:app",
    pool: str = "default",
    facts: Path | None = None,
    roles: Sequence[str] = (),
) -> Generator[subprocess.Popen[bytes]]:
    """Ends with the body, however that ends."""
    environment = {
        **os.environ,
        "TEMPORAL_ADDRESS": temporal,
        "ORCHESTRATOR_DATABASE__URL": database_url,
        "ORCHESTRATOR_ENGINE__URLS": json.dumps([engine] if engine else []),
        "ORCHESTRATOR_ENGINE__POOL": pool,
        **({} if facts is None else {"ORCHESTRATOR_ENGINE__FACTS": str(facts)}),
    }
    command = [sys.executable, "-m", "orchestrator", "worker", app, *(f"--role={role}" for role in roles)]
    with log.open("ab") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
