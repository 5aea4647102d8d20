import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from orchestrator.engine.facts import EngineFacts
from orchestrator.testing import Break, Hang, Say, ScriptedEngine, scripted_engine

if TYPE_CHECKING:
    from conftest import Wire
else:
    Wire = Any

Connect = Callable[[str], AbstractAsyncContextManager[Wire]]
HELD = Say("word" * 50, hold_after_tokens=5)


async def test_an_abort_is_confirmed_with_the_tokens_made_so_far(connect: Connect) -> None:
    async with scripted_engine([HELD]) as engine, connect(engine.url) as wire:
        ids = await wire.prompt()
        async with wire.stream(ids, rid="request-1") as chunks:
            first = await anext(chunks)
            await engine.wait_until_held()
            await wire.post_empty("/abort_request", {"rid": "request-1"})
            *_, last, done = [first, *[chunk async for chunk in chunks]]
        assert done == "[DONE]"
        assert last["meta_info"]["finish_reason"]["type"] == "abort"
        assert (last["text"], last["meta_info"]["completion_tokens"]) == ("word" * 5, 5)
        assert (engine.requests[0].finish, engine.requests[0].output_tokens) == ("abort", 5)
        assert (engine.served.prompt_tokens, engine.served.output_tokens) == (len(ids), 5)


async def test_an_abort_ends_an_answer_that_doesnt_stream(connect: Connect) -> None:
    async with scripted_engine([HELD]) as engine, connect(engine.url) as wire:
        ids = await wire.prompt()
        async with anyio.create_task_group() as tasks:

            async def ask() -> None:
                answered = await wire.generate(ids, rid="request-1")
                assert answered["meta_info"]["finish_reason"]["type"] == "abort"
                assert answered["text"] == "word" * 5

            tasks.start_soon(ask)
            await engine.wait_until_held()
            await wire.post_empty("/abort_request", {"rid": "request-1"})


async def test_an_abort_in_the_queue_says_so_and_costs_nothing(connect: Connect) -> None:
    async with scripted_engine([Hang()]) as engine, connect(engine.url) as wire:
        async with anyio.create_task_group() as tasks:
            ids = await wire.prompt()

            async def ask() -> None:
                chunk, done = await wire.chunks(ids, rid="request-1")
                assert done == "[DONE]"
                assert chunk["meta_info"]["finish_reason"]["message"] == "Abort in waiting queue"
                assert chunk["meta_info"]["completion_tokens"] == 0
                assert "prompt_tokens" not in chunk["meta_info"]

            tasks.start_soon(ask)
            await engine.wait_for_requests(1)
            await wire.post_empty("/abort_request", {"rid": "request-1"})
        assert (engine.served.requests, engine.served.prompt_tokens) == (0, 0)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_goes_away_ends_its_request_and_the_tokens_count(connect: Connect, stream: bool) -> None:
    async with scripted_engine([HELD]) as engine, connect(engine.url) as wire:
        ids = await wire.prompt()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wire.chunks if stream else wire.generate, ids)
            await engine.wait_until_held()
            tasks.cancel_scope.cancel()
        await engine.wait_until_idle()
        assert (engine.requests[0].finish, engine.requests[0].output_tokens) == ("disconnected", 5)
        assert (engine.served.prompt_tokens, engine.served.output_tokens) == (len(ids), 5)
        assert engine.requests[0].finished is not None


async def test_a_broken_reply_counts(connect: Connect) -> None:
    async with scripted_engine([Break(after_tokens=7)]) as engine, connect(engine.url) as wire:
        ids = await wire.prompt()
        with pytest.raises(httpx.RemoteProtocolError):
            await wire.chunks(ids)
        assert (engine.served.prompt_tokens, engine.served.output_tokens) == (len(ids), 7)


async def test_the_prefix_cache_is_accounted_exactly(connect: Connect) -> None:
    async with scripted_engine(lambda _: Say("four")) as engine, connect(engine.url) as wire:

        async def cached(ids: list[int], cache_salt: str | None = None) -> int:
            return (await wire.generate(ids, cache_salt=cache_salt))["meta_info"]["cached_tokens"]

        ids = await wire.prompt()
        assert await cached(ids) == 0
        assert await cached(ids) == len(ids) - 1  # a prompt's last token is always computed
        assert await cached([*ids[:-1], 1, 2]) == len(ids) - 1
        output = (await wire.generate(ids))["output_ids"]
        assert await cached([*ids, *output, 7]) == len(ids) + len(output)
        assert await cached(ids, cache_salt="another tenant") == 0
        assert await cached(ids, cache_salt="another tenant") == len(ids) - 1
        await wire.post_empty("/flush_cache", None)
        assert await cached(ids) == 0
        assert await cached(ids, cache_salt="another tenant") == 0

        records = engine.requests
        assert engine.served.cached_tokens == sum(record.cached_tokens for record in records)
        assert engine.served.prompt_tokens == sum(len(record.prompt_ids) for record in records)
        assert engine.served.output_tokens == sum(record.output_tokens for record in records)


async def test_the_cache_isnt_flushed_while_a_request_runs(connect: Connect) -> None:
    async with scripted_engine([HELD]) as engine, connect(engine.url) as wire:
        async with wire.stream(await wire.prompt()) as chunks:
            await anext(chunks)
            refused = await wire.http.post("/flush_cache")
        assert refused.status_code == 400


async def test_metrics_tell_the_same_as_served(connect: Connect) -> None:
    script = [Say("hello"), HELD, Break(after_tokens=3), Hang()]
    async with scripted_engine(script) as engine, connect(engine.url) as wire:
        await _one_of_each(engine, wire)
        text = (await wire.http.get("/metrics")).text
        served = engine.served

    assert _total(text, "prompt_tokens_total") == served.prompt_tokens
    assert _total(text, "cached_tokens_total") == served.cached_tokens > 0
    assert _total(text, "generation_tokens_total") == served.output_tokens
    assert _total(text, "num_requests_total") == served.requests == 3
    assert _total(text, "num_aborted_requests_total") == 2
    assert _total(text, "num_running_reqs") == 0
    assert 'model_name="scripted"' in text
    assert 'tenant="a\\"b"' in text


async def _one_of_each(engine: ScriptedEngine, wire: Wire) -> None:
    ids = await wire.prompt()
    await wire.generate(ids, custom_labels={"tenant": 'a"b'})
    async with wire.stream(ids, rid="request-2") as chunks:
        await anext(chunks)
        assert _total((await wire.http.get("/metrics")).text, "num_running_reqs") == 1
        assert (await wire.http.get("/v1/loads")).json()["loads"][0]["num_running_reqs"] == 1
        await wire.post_empty("/abort_request", {"rid": "request-2"})
        async for _ in chunks:
            pass
    with pytest.raises(httpx.RemoteProtocolError):
        await wire.chunks(ids)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wire.chunks, ids)
        await engine.wait_for_requests(4)
        await wire.post_empty("/abort_request", {"abort_all": True})


async def test_clients_that_went_away_are_recorded_only_if_asked(connect: Connect, tmp_path: Path) -> None:
    for recorded in (True, False):
        folder = tmp_path / str(recorded)
        async with (
            scripted_engine([Say("hello"), HELD], facts=folder, facts_of_disconnected=recorded) as engine,
            connect(engine.url) as wire,
        ):
            ids = await wire.prompt()
            await wire.generate(ids, rid="stayed")
            async with wire.stream(ids, rid="left") as chunks:
                await anext(chunks)
                await engine.wait_until_held()
            await engine.wait_until_idle()
            found = await EngineFacts(folder).find(["stayed", "left"])
            record = engine.requests[1]
            assert (record.prompt_tokens, record.cached_tokens, record.output_tokens) == (len(ids), len(ids) - 1, 5)
        assert found.keys() == ({"stayed", "left"} if recorded else {"stayed"})


async def test_loads_and_idle_time_tell_what_was_done(connect: Connect) -> None:
    replies = [Say("hello " * 10, tokens_per_second=200), Say("hello")]
    async with scripted_engine(replies) as engine, connect(engine.url) as wire:
        ids = await wire.prompt()
        await wire.generate(ids)
        (load,) = (await wire.http.get("/v1/loads")).json()["loads"]
        idle = _total((await wire.http.get("/metrics")).text, "scheduler_idle_seconds_total")
        record = engine.requests[0]
    assert record.finished is not None
    took = (record.finished - record.started).total_seconds()
    steps, sequences, spent, *_, made = load["decode_moments"]
    assert steps == sequences == made == record.output_tokens - 1
    assert 0 < spent <= 1_000_000 * took
    assert load["total_prefill_uncached_tokens"] == len(ids)
    assert 0 < load["total_prefill_busy_us"] <= 1_000_000 * took
    assert idle > 0


def _total(text: str, name: str) -> float:
    return sum(float(value) for value in re.findall(rf"^sglang:{name}{{.*}} (.*)$", text, re.MULTILINE))
