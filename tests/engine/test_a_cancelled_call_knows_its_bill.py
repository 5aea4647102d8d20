"""A call that is cancelled aborts its request, waits until the engine has confirmed it, and says if it hasn't."""

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest
from anyio import fail_after
from anyio.lowlevel import checkpoint

from orchestrator.engine import EngineRequest, SGLang, call
from orchestrator.engine.call import EngineCall
from orchestrator.engine.sglang import Generation
from orchestrator.errors import EngineOverloaded, EngineRejected
from orchestrator.steps import Sampling
from orchestrator.testing import Fail, Hang, Say, scripted_engine
from orchestrator.testing.tokenizer import encode
from tests.engine.fake_wire import REQUEST, Chunks, chunk, speaking_to

LONG = "word " * 200


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call, "ABORT_AGAIN", timedelta(milliseconds=5))
    monkeypatch.setattr(call, "ABORT_PATIENCE", timedelta(milliseconds=200))


def _request(text: str = "hello", *, rid: str = "0" * 32) -> EngineRequest:
    return EngineRequest(rid=rid, ids=encode(text), sampling=Sampling(max_tokens=1_000))


async def _until(condition: Callable[[], bool]) -> None:
    with fail_after(20):
        while not condition():
            await checkpoint()


async def _run(call: EngineCall) -> Generation:
    async with call:
        return await call.finished()


async def _cancelled(task: "asyncio.Task[object]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_call_that_ends_by_itself_has_the_whole_answer() -> None:
    async with scripted_engine([Say("It is blue.")]) as scripted, SGLang.open(scripted.url) as engine:
        here = EngineCall(engine, _request())
        generation = await _run(here)
        assert (generation.text, generation.finish) == ("It is blue.", "stop")
        assert here.generation is generation
        assert here.confirmed
        assert generation.usage.output == scripted.served.output_tokens


async def test_one_in_mid_answer_is_aborted_and_confirmed() -> None:
    script = [Say(LONG, hold_after_tokens=11)]
    async with scripted_engine(script) as scripted, SGLang.open(scripted.url) as engine:
        here = EngineCall(engine, _request())
        task = asyncio.create_task(_run(here))
        await scripted.wait_until_held()
        await _cancelled(task)
        assert here.confirmed
        assert here.generation.finish == "abort"
        (record,) = scripted.requests
        assert record.finish == "abort"
        assert here.generation.ids == list(record.output_ids)
        usage, served = here.generation.usage, scripted.served
        assert (usage.prompt, usage.cached, usage.output) == (
            served.prompt_tokens,
            served.cached_tokens,
            served.output_tokens,
        )
        assert usage.output == 11


async def test_one_in_the_queue_is_aborted_and_cost_nothing() -> None:
    async with scripted_engine([Hang()]) as scripted, SGLang.open(scripted.url) as engine:
        here = EngineCall(engine, _request())
        task = asyncio.create_task(_run(here))
        await scripted.wait_for_requests(1)
        await _cancelled(task)
        assert here.confirmed
        assert (here.generation.finish, here.generation.usage.total) == ("abort", 0)


async def test_only_the_request_itself_is_aborted() -> None:
    script = [Say(LONG, hold_after_tokens=3), Say(LONG, hold_after_tokens=3)]
    async with scripted_engine(script) as scripted, SGLang.open(scripted.url) as engine:
        one, other = (EngineCall(engine, _request(rid=f"{number:032x}")) for number in (1, 2))
        tasks = [asyncio.create_task(_run(each)) for each in (one, other)]
        await scripted.wait_until_held(2)
        await _cancelled(tasks[0])
        scripted.release()
        assert (await tasks[1]).finish == "stop"


async def test_a_refusal_passes_through() -> None:
    async with scripted_engine([Fail(status=503)]) as scripted, SGLang.open(scripted.url) as engine:
        here = EngineCall(engine, _request())
        with pytest.raises(EngineOverloaded):
            await _run(here)
        assert here.generation.usage.total == 0


@pytest.mark.usefixtures("hurried")
async def test_an_abort_that_is_overlooked_is_said_again() -> None:
    stream, aborts = Chunks(chunk("a", [1], prompt_tokens=3)), list[str]()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/generate":
            return httpx.Response(200, stream=stream)
        aborts.append(json.loads(request.content)["rid"])
        if len(aborts) == 3:
            stream.send(chunk("ab", [1, 2], finish_reason={"type": "abort", "message": "Aborted"}))
            stream.end()
        return httpx.Response(200)

    async with speaking_to(answer) as engine:
        here = EngineCall(engine, REQUEST)
        task = asyncio.create_task(_run(here))
        await _until(lambda: bool(here.generation.ids))
        await _cancelled(task)
    assert aborts == [REQUEST.rid] * 3
    assert here.confirmed
    assert here.generation.usage.output == 2


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("abort", ["ignored", "refused", "unreachable"])
async def test_one_that_is_never_confirmed_says_so(abort: str) -> None:
    stream = Chunks(chunk("a", [1], prompt_tokens=3))

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/generate":
            return httpx.Response(200, stream=stream)
        if abort == "unreachable":
            raise httpx.ConnectError("gone")
        return httpx.Response(200 if abort == "ignored" else 500)

    async with speaking_to(answer) as engine:
        here = EngineCall(engine, REQUEST)
        task = asyncio.create_task(_run(here))
        await _until(lambda: bool(here.generation.ids))
        await _cancelled(task)
        assert not here.confirmed
        assert here.generation.finish is None
        assert (here.generation.usage.prompt, here.generation.usage.output) == (3, 1)
        with fail_after(20):
            await stream.closed.wait()


@pytest.mark.parametrize("last", ["confirmation", "nothing"])
@pytest.mark.parametrize("abort", ["accepted", "unreachable"])
async def test_the_stream_alone_confirms(last: str, abort: str) -> None:
    """Not the answer to the abort, which says nothing of tokens."""
    stream = Chunks(chunk("a", [1], prompt_tokens=3))

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/generate":
            return httpx.Response(200, stream=stream)
        if last == "confirmation":
            stream.send(chunk("ab", [1, 2], finish_reason={"type": "abort", "message": "Aborted"}))
        stream.end()
        await stream.closed.wait()
        for _ in range(20):  # until the reader's task has ended too
            await checkpoint()
        if abort == "unreachable":
            raise httpx.ConnectError("gone")
        return httpx.Response(200)

    async with speaking_to(answer) as engine:
        here = EngineCall(engine, REQUEST)
        task = asyncio.create_task(_run(here))
        await _until(lambda: bool(here.generation.ids))
        await _cancelled(task)
    assert here.confirmed is (last == "confirmation")
    assert here.generation.usage.output == (2 if last == "confirmation" else 1)


async def test_what_was_computed_before_a_refusal_is_on_the_bill() -> None:
    """As of a grammar that the engine can't compile: it says so after it has made a token."""
    refused = {"type": "abort", "message": "bad grammar", "status_code": 400}
    stream = Chunks(chunk("a", [1], prompt_tokens=3, finish_reason=refused))
    stream.end()
    async with speaking_to(lambda _: httpx.Response(200, stream=stream)) as engine:
        here = EngineCall(engine, REQUEST)
        with pytest.raises(EngineRejected):
            await _run(here)
    assert here.confirmed
    assert (here.generation.usage.prompt, here.generation.usage.output) == (3, 1)
