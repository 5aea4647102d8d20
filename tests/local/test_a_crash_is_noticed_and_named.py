from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from orchestrator.local import PartNotReady, PartStopped
from orchestrator.local.processes import supervised


async def never() -> bool:
    return False


async def test_the_error_has_the_part_the_code_and_the_end_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "part.log"
    command = "for i in $(seq 100); do echo line $i; done; echo out of luck >&2; exit 7"
    async with supervised("the part", ["sh", "-c", command], log=log) as part:
        with pytest.raises(PartStopped, match=r"the part stopped \(exit code 7\)") as caught:
            await part.crash()
    assert caught.value.code == 7
    assert caught.value.tail.splitlines() == [*(f"line {i}" for i in range(87, 101)), "out of luck"]
    assert str(log) in str(caught.value)
    assert caught.value.tail in str(caught.value)


async def test_a_signal_is_named(tmp_path: Path) -> None:
    async with supervised("the part", ["sh", "-c", "kill -SEGV $$"], log=tmp_path / "log") as part:
        with pytest.raises(PartStopped, match="ended by SIGSEGV"):
            await part.crash()


async def test_a_crash_ends_the_wait_for_readiness(tmp_path: Path) -> None:
    async with supervised("the part", ["false"], log=tmp_path / "log") as part:
        with pytest.raises(PartStopped, match="exit code 1"):
            await part.until(never, within=timedelta(seconds=30))


async def test_a_part_that_never_gets_ready_is_named(tmp_path: Path) -> None:
    async with supervised("the part", ["sleep", "1000"], log=tmp_path / "log") as part:
        with pytest.raises(PartNotReady, match=r"the part isn't ready after 0\.2 s"):
            await part.until(never, within=timedelta(seconds=0.2))


async def test_a_command_that_is_not_there_says_so(tmp_path: Path) -> None:
    async with supervised("the part", [tmp_path / "nothing"], log=tmp_path / "log") as part:
        with pytest.raises(PartStopped, match=r"exit code 127(.|\n)*can't start .*nothing"):
            await part.crash()


async def test_the_kept_process_gets_the_environment_and_no_input(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = ["sh", "-c", "cat; echo $GREETING"]
    async with supervised("the part", command, log=log, environment={"GREETING": "hello"}) as part:
        with anyio.fail_after(10):
            assert await part.ended() == 0
    assert log.read_text() == "hello\n"
