"""The same requests to the scripted engine and to the real SGLang: both record the same of them, and count the same."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import httpx
import pytest

from orchestrator.engine.counters import EngineCounters, read_counters
from orchestrator.engine.facts import EngineFact, EngineFacts
from orchestrator.engine.records import read_export, read_scheduler_line
from orchestrator.local import RunningEngine
from orchestrator.testing import Say, scripted_engine
from orchestrator.usage import Usage
from tests.eventually import eventually
from tests.testing.test_wire_matches_sglang import LAST, LENGTH, shape

if TYPE_CHECKING:
    from conftest import Wire
else:
    Wire = Any

LONG = Say("One, two, three, four, five, six, seven, eight. " * 40, tokens_per_second=100)

CLIENT = """
import json, sys, httpx
url, body = sys.argv[1:]
with httpx.stream("POST", url + "/generate", json=json.loads(body), timeout=60, trust_env=False) as response:
    for line in response.iter_lines():
        if line.startswith("data: {"):
            print(json.loads(line.removeprefix("data: "))["meta_info"]["completion_tokens"], flush=True)
"""


@dataclass(frozen=True, kw_only=True)
class Server:
    """One that is recorded."""

    url: str
    folder: Path
    facts: EngineFacts
    wire: Wire

    async def found(self, *rids: str) -> dict[str, EngineFact]:
        """The records of requests, once all of them are there."""

        async def complete() -> bool:
            return len(await self.facts.find(rids)) == len(rids)

        await eventually(complete)
        return await self.facts.find(rids)

    async def counters(self) -> EngineCounters:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            return await read_counters(http, self.url)

    def lines(self, kind: str) -> Sequence[bytes]:
        return [line for file in self.folder.glob(f"sglang-{kind}-*.log") for line in file.read_bytes().splitlines()]

    def exports(self, rid: str) -> list[dict[str, Any]]:
        records = (json.loads(line) for line in self.lines("request-metrics"))
        return [record for record in records if record["id"] == rid]


@pytest.fixture
async def scripted(tmp_path: Path) -> AsyncGenerator[tuple[str, Path]]:
    async with scripted_engine(lambda _: LONG, context_length=8192, facts=tmp_path / "facts") as engine:
        yield engine.url, tmp_path / "facts"


@pytest.fixture
def real(request: pytest.FixtureRequest) -> tuple[str, Path]:
    running = cast("RunningEngine", request.getfixturevalue("sglang"))
    return running.url, running.facts


@pytest.fixture(params=["scripted", pytest.param("real", marks=pytest.mark.engine)])
def place(request: pytest.FixtureRequest) -> tuple[str, Path]:
    """Each test that asks for it runs against both servers."""
    return cast("tuple[str, Path]", request.getfixturevalue(cast("str", request.param)))


@pytest.fixture
async def server(
    place: tuple[str, Path], connect: Callable[[str], AbstractAsyncContextManager[Wire]]
) -> AsyncGenerator[Server]:
    url, folder = place
    async with connect(url) as wire:
        yield Server(url=url, folder=folder, facts=EngineFacts(folder), wire=wire)


def total(facts: Sequence[EngineFact]) -> tuple[int, int, int]:
    usage = sum((fact.usage for fact in facts), Usage())
    return usage.prompt or 0, usage.cached or 0, usage.output or 0


def growth(before: EngineCounters, after: EngineCounters) -> tuple[int, int, int]:
    names = ("prompt_tokens", "cached_tokens", "output_tokens")
    prompt, cached, output = ((getattr(after, name) or 0) - (getattr(before, name) or 0) for name in names)
    return prompt, cached, output


async def disconnected(server: Server, ids: list[int], rid: str) -> int:
    """The client goes away after some tokens; how many it got."""
    async with server.wire.stream(ids, rid=rid, max_new_tokens=300) as chunks:
        async for chunk in chunks:
            if (made := chunk["meta_info"]["completion_tokens"]) >= 3:
                return made
    raise AssertionError("the answer ended")


async def killed(server: Server, ids: list[int], rid: str) -> int:
    """The client's process is killed after some tokens; how many it got."""
    params = {"max_new_tokens": 300, "ignore_eos": True}
    body = json.dumps({"rid": rid, "input_ids": ids, "stream": True, "sampling_params": params})
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLIENT, server.url, body, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    made = 0
    while made < 3:
        made = int(await process.stdout.readline())
    process.kill()
    await process.communicate()
    return made


async def aborted(server: Server, ids: list[int], rid: str) -> Any:
    """Aborted in mid-answer; the last chunk."""
    last: Any = None
    async with server.wire.stream(ids, rid=rid, max_new_tokens=300) as chunks:
        async for chunk in chunks:
            if chunk != "[DONE]":
                last = chunk
                if chunk["meta_info"]["completion_tokens"] == 3:
                    await server.wire.post_empty("/abort_request", {"rid": rid})
    return last


async def test_the_records_are_what_the_client_was_told(server: Server) -> None:
    ids = await server.wire.prompt("Count.")
    rids = [uuid4().hex for _ in range(3)]
    *_, streamed, _done = await server.wire.chunks(ids, rid=rids[0], max_new_tokens=6)
    whole = await server.wire.generate(ids, rid=rids[1], max_new_tokens=5)
    stopped = await aborted(server, ids, rids[2])

    facts = await server.found(*rids)
    for rid, answer in zip(rids, (streamed, whole, stopped), strict=True):
        meta, fact = answer["meta_info"], facts[rid]
        assert fact.usage == Usage(
            prompt=meta["prompt_tokens"],
            cached=meta["cached_tokens"],
            output=meta["completion_tokens"],
            reasoning=meta["reasoning_tokens"],
        )
        assert fact.finish == meta["finish_reason"]["type"]
        assert fact.moments.entered == round(meta["forward_entry_time"] * 1_000_000)
        assert fact.moments.prefilled == round(meta["prefill_finished_time"] * 1_000_000)
        assert fact.moments.finished == round(meta["request_finished_ts"] * 1_000_000)


@pytest.mark.parametrize("leave", [disconnected, killed])
async def test_a_client_that_went_away_has_a_record_of_all_that_was_computed(
    server: Server, leave: Callable[[Server, list[int], str], Any]
) -> None:
    ids = await server.wire.prompt("Count.")
    before, rid = await server.counters(), uuid4().hex
    received = await leave(server, ids, rid)

    fact = (await server.found(rid))[rid]
    assert fact.usage.prompt == len(ids)
    assert (fact.usage.output or 0) >= received
    assert fact.finish is None
    assert fact.moments.entered is not None
    assert fact.moments.finished is not None
    assert server.exports(rid) == []
    after = await server.counters()
    assert growth(before, after) == total([fact])
    assert (after.requests or 0) - (before.requests or 0) == 1
    assert (after.aborted or 0) - (before.aborted or 0) == 1


async def test_the_counters_grow_by_what_is_recorded(server: Server) -> None:
    ids = await server.wire.prompt("Count on.")
    before, rids = await server.counters(), [uuid4().hex for _ in range(5)]
    await server.wire.chunks(ids, rid=rids[0], max_new_tokens=6)
    await server.wire.generate(ids, rid=rids[1], max_new_tokens=5)
    await aborted(server, ids, rids[2])
    await disconnected(server, ids, rids[3])
    await server.wire.generate(ids, rid=rids[4], max_new_tokens=0)
    await server.wire.http.get("/health")
    await server.wire.http.post("/generate", json={"input_ids": ids, "sampling_params": {"max_new_tokens": 10**6}})

    facts = await server.found(*rids)
    after = await server.counters()
    assert growth(before, after) == total(list(facts.values()))
    assert (after.requests or 0) - (before.requests or 0) == len(rids)
    assert (after.aborted or 0) - (before.aborted or 0) == 2
    assert before.boot == after.boot is not None
    assert (after.idle_us or 0) > 0
    assert after.moments is not None
    assert after.moments["prefill_us"] > 0


async def test_an_export_has_this_shape_and_no_prompt(server: Server) -> None:
    ids, rid = await server.wire.prompt("Never write this down."), uuid4().hex
    await server.wire.generate(ids, max_new_tokens=0)  # so that some of it is cached
    await server.wire.chunks(ids, rid=rid, max_new_tokens=6)
    await server.found(rid)

    (record,) = server.exports(rid)
    parameters = json.loads(record.pop("request_parameters"))
    assert shape(record) == {**LAST, "finish_reason": LENGTH, "decode_throughput": "float"}
    assert parameters["rid"] == rid
    assert parameters["stream"] is True
    assert not {"input_ids", "text", "sampling_params"} & parameters.keys()
    for line in (*server.lines("request-metrics"), *server.lines("scheduler")):
        assert len(line) < 2500
        assert read_export(line) or read_scheduler_line(line)


async def test_the_scheduler_says_when_and_since_when_it_runs(server: Server) -> None:
    await server.wire.http.get("/health")

    async def written() -> bool:
        return bool(server.lines("scheduler"))

    await eventually(written)
    said = [read_scheduler_line(line) for line in server.lines("scheduler")]
    assert all(each is not None and each.at is not None and each.born is not None for each in said)
    assert len({round(each.born or 0) for each in said if each is not None}) <= 2  # one, but for rounding


async def test_what_is_refused_is_not_recorded(server: Server) -> None:
    ids, rid = await server.wire.prompt("Count."), uuid4().hex
    refused = await server.wire.http.post(
        "/generate", json={"rid": rid, "input_ids": ids, "sampling_params": {"max_new_tokens": 10**6}}
    )
    assert refused.status_code == 400
    later = uuid4().hex
    await server.wire.generate(ids, rid=later, max_new_tokens=2)
    await server.found(later)
    assert await server.facts.find([rid]) == {}
