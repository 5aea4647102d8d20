import re
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator_tools import PythonResult, run_python
from tests.tools.processes import sandboxes, watching
from tests.tools.programs import Hostile, hostile

PROGRAMS = hostile()
TIMEOUT = timedelta(seconds=0.3)
LATE = timedelta(seconds=3)
"""Beyond the timeout: to start, for Monty's own second of grace, and for a machine that has other things to do."""
MEMORY = 32 * 1024 * 1024
MOST = 384 * 1024 * 1024
"""Bytes that any process of a sandbox of that memory may have: as `child.bound` says."""
LONGEST = 17_000
"""Characters of anything that a program says."""
OUTSIDE = Path("/tmp/broken-out")
"""What some of them try to write."""
SECRETS = re.compile(r"root:|PATH=|uid=|/home|/root|ORCHESTRATOR")


def test_there_are_many_of_many_kinds() -> None:
    assert len({program.code for program in PROGRAMS}) == len(PROGRAMS) >= 100


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
async def test_it_is(program: Hostile) -> None:
    began = time.perf_counter()
    async with watching() as peak:
        result = await run_python(program.code, timeout=TIMEOUT, memory=MEMORY)
    assert time.perf_counter() - began < (TIMEOUT + LATE).total_seconds()
    assert 0 < peak.bytes < MOST
    assert re.fullmatch(program.error, result.error.kind if result.error else ""), result.error
    assert all(len(text) < LONGEST for text in _said(result))
    assert not SECRETS.search(" ".join(_said(result)))
    assert sandboxes() == []
    assert not OUTSIDE.exists()  # noqa: ASYNC240


def _said(result: PythonResult) -> Sequence[str]:
    error = (result.error.kind, result.error.message, *result.error.where) if result.error else ()
    return (result.printed, result.value or "", *error)
