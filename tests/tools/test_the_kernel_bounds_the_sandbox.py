"""Where Monty fails, the kernel holds: each process is bounded, ends in time and with its run, and knows nothing."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from orchestrator.errors import ConfigurationError
from orchestrator_tools import PythonResult, run_python
from orchestrator_tools.sandbox import child, run
from tests.eventually import eventually
from tests.tools.processes import sandboxes

FOREVER = "while True: pass"
MEMORY = 16 * 1024 * 1024


async def _both() -> bool:
    return len(sandboxes()) == 2


async def _none() -> bool:
    return not sandboxes()


async def _meanwhile(do: Callable[[Sequence[Path]], None], *, timeout: timedelta) -> PythonResult:
    """Runs an endless program, and does something to its processes."""
    results: list[PythonResult] = []

    async def work() -> None:
        results.append(await run_python(FOREVER, timeout=timeout, memory=MEMORY))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await eventually(_both)
        do(sandboxes())
    return results[0]


async def test_each_process_is_under_limits_and_has_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_SECRET", "hush")
    seen: list[tuple[str, bytes]] = []
    space = child.BASE + child.OVERHEAD * MEMORY

    def look(processes: Sequence[Path]) -> None:
        seen.extend(((each / "limits").read_text(), (each / "environ").read_bytes()) for each in processes)

    await _meanwhile(look, timeout=timedelta(seconds=1))
    assert len(seen) == 2
    for limits, environment in seen:
        assert re.search(rf"Max address space +{space} +{space} ", limits)
        assert re.search(r"Max cpu time +3 +3 ", limits)
        assert re.search(r"Max file size +0 +0 ", limits)
        assert re.search(r"Max open files +64 +64 ", limits)
        assert b"hush" not in environment
        assert b"=" not in environment.replace(b"LC_CTYPE=", b"")


@pytest.mark.parametrize(
    ("code", "ends"),
    [
        ("x = bytearray(10 ** 10)", "MemoryError"),
        ("x = []\nwhile True: x.append(bytearray(10 ** 6))", "MemoryError"),
        ("while True: pass", -signal.SIGKILL),
        ("open('/tmp/broken-out', 'w').write('x' * 10 ** 6)", "OSError"),
        ("fds = [open('/dev/null') for _ in range(100)]", "OSError"),
        ("import os\nos.setpriority(os.PRIO_PROCESS, 0, 0) if os.geteuid() else 1 / 0", "Error"),
        ("import resource\nresource.setrlimit(resource.RLIMIT_CPU, (99, 99)) if os.geteuid() else 1 / 0", "Error"),
    ],
)
def test_a_broken_sandbox_is_held(code: str, ends: str | int) -> None:
    """As if Monty itself did what it was told."""
    bounds = f"import sys\nsys.path.insert(0, {str(Path(child.__file__).parent)!r})\nimport child, os\n"
    program = f"{bounds}child.bound(seconds=-1, memory={MEMORY})\n{code}"
    ended = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False)
    if isinstance(ends, int):
        assert ended.returncode in (ends, -signal.SIGXCPU)
    else:
        assert ends in ended.stderr.splitlines()[-1]
    Path("/tmp/broken-out").unlink(missing_ok=True)


async def test_a_program_has_the_memory_that_it_is_given() -> None:
    program = "x = 'a' * 20_000_000\nlen(x)"
    assert (await run_python(program, memory=4 * MEMORY)).value == "20000000"
    refused = await run_python(program, memory=MEMORY)
    assert refused.error is not None
    assert str(refused.error).startswith("MemoryError: memory limit exceeded: ")


async def test_a_sandbox_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "START", timedelta(seconds=1))

    def hang(processes: Sequence[Path]) -> None:
        for each in processes:
            os.kill(int(each.name), signal.SIGSTOP)

    began = time.perf_counter()
    result = await _meanwhile(hang, timeout=timedelta(seconds=0.5))
    assert result.error is not None
    assert str(result.error) == "TimeoutError: stopped after 1.5 s"
    assert time.perf_counter() - began < 5
    assert await _none()


@pytest.mark.parametrize("which", [0, 1])
async def test_a_sandbox_that_dies_is_a_result(which: int) -> None:
    result = await _meanwhile(
        lambda processes: os.kill(int(processes[which].name), signal.SIGKILL), timeout=timedelta(seconds=30)
    )
    assert result.error is not None
    assert result.error.kind == "SandboxStopped"
    assert await _none()


async def test_who_is_cancelled_leaves_nothing_running() -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_python, FOREVER)
        await eventually(_both)
        tasks.cancel_scope.cancel()
    assert await _none()


async def test_a_worker_that_is_killed_leaves_nothing_running() -> None:
    program = (
        "import anyio\nfrom datetime import timedelta\nfrom orchestrator_tools import run_python\n"
        f"async def main(): await run_python({FOREVER!r}, timeout=timedelta(seconds=60))\nanyio.run(main)"
    )
    worker = await anyio.open_process([sys.executable, "-c", program])
    processes: list[Path] = []

    async def started() -> bool:
        processes[:] = sandboxes(worker.pid)
        return len(processes) == 2

    await eventually(started)
    worker.kill()
    await worker.aclose()

    async def gone() -> bool:
        return not any(each.exists() for each in processes)

    await eventually(gone, within=timedelta(seconds=10))


async def test_no_more_run_at_once_than_there_are_processors() -> None:
    most = 0
    limit = os.cpu_count() or 1

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, len(sandboxes()))
            await anyio.sleep(0.002)

    async with anyio.create_task_group() as watchers:
        watchers.start_soon(watch)
        async with anyio.create_task_group() as tasks:
            for _ in range(2 * limit + 1):
                tasks.start_soon(run_python, "1")
        watchers.cancel_scope.cancel()
    assert limit < most <= 2 * limit


def _replaced(answer: str) -> str:
    return f"import sys\nsys.stdin.readline()\nsys.stdout.write({answer!r})\nsys.stdout.flush()\nsys.stdin.readline()"


async def test_without_the_sandbox_the_operator_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = f"import sys\nsys.modules['pydantic_monty'] = None\nexec(open({child.__file__!r}).read())"
    (tmp_path / "child.py").write_text(program)
    monkeypatch.setattr(run, "CHILD", tmp_path / "child.py")
    with pytest.raises(ConfigurationError, match=r"no sandbox.*pydantic_monty.*Install 'pydantic-monty'"):
        await run_python("1")


@pytest.mark.parametrize(
    "answer", ["x" * 10**6, "x" * 10**6 + "\n", "not json\n", "[]\n", '{"value": 1}\n', "[" * 10**5 + "\n"]
)
async def test_an_answer_that_is_none_is_a_result(answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "child.py").write_text(_replaced(answer))
    monkeypatch.setattr(run, "CHILD", tmp_path / "child.py")
    result = await run_python("1")
    assert result.error is not None
    assert result.error.kind == "SandboxStopped"
