"""What engines wrote of their requests is found by the requests' ids, however the files come and go."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.engine.facts import EngineFact, EngineFacts
from orchestrator.errors import ConfigurationError
from orchestrator.usage import EngineMoments, Usage

HOUR = "sglang-request-metrics-20260301_10.log"
SCHEDULER = "sglang-scheduler-30000.log"
SERVER = "http://127.0.0.1:30000"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def export(rid: str, *, output: int = 8, **more: object) -> str:
    """A line as SGLang 0.5.23 exports it."""
    record = {
        "request_parameters": json.dumps({"rid": rid, "stream": True}),
        "id": rid,
        "finish_reason": {"type": "length", "length": output},
        "prompt_tokens": 12,
        "num_retractions": 0,
        "forward_entry_time": 1795602447.7255015,
        "prefill_finished_time": 1795602447.8276896,
        "reasoning_tokens": 0,
        "completion_tokens": output,
        "cached_tokens": 11,
        "cached_tokens_details": {"device": 11, "host": 0},
        "request_finished_ts": 1795602448.1052685,
        **more,
    }
    return json.dumps({name: value for name, value in record.items() if value is not None}) + "\n"


def computed(rid: str, *, at: datetime | None = None, since: datetime = NOON, output: int = 7) -> str:
    """A line of the scheduler, behind the time and the process's age where `at` is given."""
    before = "[2026-11-25 10:27:30] "
    if at is not None:
        before = f"{at.timestamp():.6f} {(at - since) / timedelta(milliseconds=1):.0f} "
    return (
        f"{before}ReqTimeStats(rid={rid}, input_len=12, cached_input_len=11, output_len={output}, attempts=0, "
        "type=unified): queue_duration=0.45ms, forward_duration=391.16ms, entry_time=1795602450.104\n"
    )


def write(folder: Path, name: str, *lines: str) -> Path:
    file = folder / name
    with file.open("a") as opened:
        opened.writelines(lines)
    return file


async def test_a_folder_that_isnt_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere, isn't there\. Set ORCHESTRATOR_ENGINE__FACTS"):
        EngineFacts(tmp_path / "nowhere")


async def test_an_export_says_it_all(tmp_path: Path) -> None:
    write(tmp_path, HOUR, export("a"))
    assert await EngineFacts(tmp_path).find(["a", "b"]) == {
        "a": EngineFact(
            usage=Usage(prompt=12, cached=11, output=8, reasoning=0),
            moments=EngineMoments(entered=1795602447725502, prefilled=1795602447827690, finished=1795602448105268),
            finish="length",
        )
    }


async def test_a_servers_own_log_says_it_of_requests_without_an_export(tmp_path: Path) -> None:
    write(tmp_path, "sglang-server.log", "[2026-11-25 10:27:30] Prefill batch, #new-seq: 1\n", computed("a"))
    assert await EngineFacts(tmp_path).find(["a"]) == {
        "a": EngineFact(
            usage=Usage(prompt=12, cached=11, output=7),
            moments=EngineMoments(entered=1795602450104450, finished=1795602450495610),
        )
    }


async def test_of_a_retracted_request_the_line_itself_is_the_end(tmp_path: Path) -> None:
    write(
        tmp_path,
        SCHEDULER,
        "1795603058.444000 60000 ReqTimeStats(rid=c2, input_len=13, cached_input_len=0, output_len=90, attempts=0, "
        "type=unified): queue_duration=1025.79ms, forward_duration=15395.30ms, entry_time=1795603056.395\n",
    )
    found = await EngineFacts(tmp_path).find(["c2"])
    assert found["c2"].moments == EngineMoments(entered=1795603043048700, finished=1795603058444000)


@pytest.mark.parametrize("export_first", [True, False])
async def test_the_export_counts_where_both_are_there(tmp_path: Path, export_first: bool) -> None:
    files = [(HOUR, export("a")), (SCHEDULER, computed("a"))]
    facts = EngineFacts(tmp_path)
    for name, line in files if export_first else reversed(files):
        write(tmp_path, name, line)
        await facts.find([])
    assert (await facts.find(["a"]))["a"].finish == "length"


@pytest.mark.parametrize(
    "reason",
    [
        {"type": "abort", "status_code": 503, "message": "The request queue is full."},
        {"type": "abort", "message": "Abort in waiting queue"},
    ],
)
async def test_what_never_left_the_queue_was_free(tmp_path: Path, reason: dict[str, object]) -> None:
    nothing = {"prompt_tokens": None, "cached_tokens": None, "forward_entry_time": None, "prefill_finished_time": None}
    write(tmp_path, HOUR, export("a", output=0, finish_reason=reason, **nothing))
    fact = (await EngineFacts(tmp_path).find(["a"]))["a"]
    assert (fact.usage, fact.finish) == (Usage(prompt=0, cached=0, output=0), "abort")


async def test_what_was_made_before_a_retraction_isnt_forgotten(tmp_path: Path) -> None:
    """Aborted in the queue, where it waited to be computed again: the engine no longer says what its prompt was."""
    reason = {"type": "abort", "message": "Abort in waiting queue"}
    write(tmp_path, HOUR, export("a", output=5, finish_reason=reason, prompt_tokens=None, cached_tokens=None))
    assert (await EngineFacts(tmp_path).find(["a"]))["a"].usage == Usage(output=5, reasoning=0)


async def test_a_half_written_line_is_read_when_it_is_whole(tmp_path: Path) -> None:
    line = export("a")
    write(tmp_path, HOUR, export("b"), line[:100])
    facts = EngineFacts(tmp_path)
    assert (await facts.find(["a", "b"])).keys() == {"b"}
    write(tmp_path, HOUR, line[100:])
    assert (await facts.find(["a", "b"])).keys() == {"a", "b"}


async def test_lines_that_are_no_records_are_passed_over(tmp_path: Path) -> None:
    broken = [
        "\n",
        "{\n",
        "[]\n",
        '{"id": 7}\n',
        '{"id": "c", "finish_reason": 3}\n',
        "ReqTimeStats(rid=d, \n",
        "ReqTimeStats(rid=e, input_len=x): \n",
        "\ufffd\x00\n",
    ]
    write(tmp_path, HOUR, *broken, export("a"), *broken)
    write(tmp_path, SCHEDULER, *broken, computed("b"), *broken)
    assert (await EngineFacts(tmp_path).find("abcde")).keys() == {"a", "b"}


async def test_the_next_hours_file_is_found(tmp_path: Path) -> None:
    facts = EngineFacts(tmp_path)
    write(tmp_path, HOUR, export("a"))
    await facts.find([])
    write(tmp_path, "sglang-request-metrics-20260301_11.log", export("b"))
    (tmp_path / "another").mkdir()
    write(tmp_path / "another", HOUR, export("c"))
    assert (await facts.find("abc")).keys() == {"a", "b", "c"}


async def test_a_log_that_is_rotated_loses_nothing(tmp_path: Path) -> None:
    facts = EngineFacts(tmp_path)
    log = write(tmp_path, SCHEDULER, computed("a"))
    await facts.find([])
    write(tmp_path, SCHEDULER, computed("b"))
    log.rename(tmp_path / f"{SCHEDULER}.1")
    write(tmp_path, SCHEDULER, computed("c"))
    assert (await facts.find("abc")).keys() == {"a", "b", "c"}


async def test_a_log_that_is_emptied_is_read_from_its_begin(tmp_path: Path) -> None:
    facts = EngineFacts(tmp_path)
    log = write(tmp_path, SCHEDULER, computed("a"), computed("b"))
    await facts.find([])
    log.write_text(computed("c"))
    assert (await facts.find("abc")).keys() == {"a", "b", "c"}


async def test_a_log_that_is_taken_away_is_forgotten(tmp_path: Path) -> None:
    facts = EngineFacts(tmp_path)
    log = write(tmp_path, SCHEDULER, computed("a"))
    await facts.find([])
    log.unlink()
    assert (await facts.find("ab")).keys() == {"a"}


async def test_each_line_is_read_once(tmp_path: Path) -> None:
    facts = EngineFacts(tmp_path)
    log = write(tmp_path, SCHEDULER, computed("a"))
    await facts.find([])
    content = log.read_text()
    log.write_text(content.replace("output_len=7", "output_len=9"))  # of the same length: nobody does that
    assert (await facts.find(["a"]))["a"].usage.output == 7


async def test_what_memory_doesnt_hold_is_searched_for(tmp_path: Path) -> None:
    write(tmp_path, HOUR, *(export(f"{number:03}", output=number) for number in range(100)))
    write(tmp_path, SCHEDULER, *(computed(f"s{number:03}", output=number) for number in range(100)))
    facts = EngineFacts(tmp_path, remembered=10)
    found = await facts.find(["003", "099", "s004", "none"])
    assert {rid: fact.usage.output for rid, fact in found.items()} == {"003": 3, "099": 99, "s004": 4}
    write(tmp_path, HOUR, export("none", output=1))
    assert (await facts.find(["none"])).keys() == {"none"}


async def test_old_files_are_read_only_when_something_is_searched_for(tmp_path: Path) -> None:
    file = write(tmp_path, HOUR, export("old"))
    then = (datetime.now(UTC) - timedelta(days=3)).timestamp()
    os.utime(file, (then, then))
    facts = EngineFacts(tmp_path)
    assert (await facts.find(["old"])).keys() == {"old"}
    write(tmp_path, HOUR, export("new"))
    assert (await facts.find(["new"])).keys() == {"new"}


async def test_a_health_check_is_nobodys_request(tmp_path: Path) -> None:
    write(tmp_path, SCHEDULER, computed("HEALTH_CHECK_1"))
    assert await EngineFacts(tmp_path).find(["HEALTH_CHECK_1"]) == {}


class TestAbsence:
    """What isn't recorded was never computed, where the server recorded all that it did."""

    asked = (NOON + timedelta(minutes=10), NOON + timedelta(minutes=20))

    async def test_is_told_by_a_scheduler_that_was_there_before_and_writes_later(self, tmp_path: Path) -> None:
        facts = EngineFacts(tmp_path)
        write(tmp_path, SCHEDULER, computed("a", at=NOON + timedelta(minutes=12)))
        assert not await facts.covers(SERVER, *self.asked)
        write(tmp_path, SCHEDULER, computed("b", at=NOON + timedelta(minutes=20, seconds=20)))
        assert not await facts.covers(SERVER, *self.asked)  # it may still be in the engine
        write(tmp_path, SCHEDULER, computed("HEALTH_CHECK_1", at=NOON + timedelta(minutes=21)))
        assert await facts.covers(SERVER, *self.asked)

    async def test_is_not_told_where_the_server_started_again(self, tmp_path: Path) -> None:
        again = NOON + timedelta(minutes=15)
        write(tmp_path, SCHEDULER, computed("a", at=NOON + timedelta(minutes=12)))
        write(tmp_path, SCHEDULER, computed("b", at=NOON + timedelta(minutes=25), since=again))
        facts = EngineFacts(tmp_path)
        assert not await facts.covers(SERVER, *self.asked)
        assert await facts.covers(SERVER, NOON + timedelta(minutes=16), NOON + timedelta(minutes=20))

    async def test_is_not_told_by_another_server(self, tmp_path: Path) -> None:
        write(tmp_path, "sglang-scheduler-30001.log", computed("a", at=NOON + timedelta(minutes=25)))
        assert not await EngineFacts(tmp_path).covers(SERVER, *self.asked)

    async def test_is_not_told_by_a_log_without_the_processs_age(self, tmp_path: Path) -> None:
        write(tmp_path, SCHEDULER, computed("a"))
        assert not await EngineFacts(tmp_path).covers(SERVER, *self.asked)
