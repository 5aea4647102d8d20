import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from orchestrator.errors import ConfigurationError, DefinitionError
from orchestrator.testing import (
    Break,
    CallTool,
    Fail,
    Hang,
    Reply,
    Say,
    ScriptedEngine,
    ScriptedRequest,
    replies_from_json,
    scripted_engine,
)

if TYPE_CHECKING:
    from conftest import Wire
else:
    Wire = Any

Connect = Callable[[str], AbstractAsyncContextManager[Wire]]
TOOLS = [{"type": "function", "function": {"name": "calculator", "parameters": {"type": "object"}}}]


async def test_replies_come_in_order(connect: Connect) -> None:
    async with scripted_engine([Say("one"), Say("two")]) as engine, connect(engine.url) as wire:
        ids = await wire.prompt()
        assert [(await wire.generate(ids))["text"] for _ in range(2)] == ["one", "two"]
        assert [record.finish for record in engine.requests] == ["stop", "stop"]


async def test_a_script_that_ran_out_says_so(connect: Connect) -> None:
    async with scripted_engine([Say("one")]) as engine, connect(engine.url) as wire:
        ids = await wire.prompt()
        await wire.generate(ids)
        refused = await wire.http.post("/generate", json={"input_ids": ids})
        assert refused.status_code == 400
        assert refused.json() == {"error": {"message": "the script has no reply left for request 2"}}
        chunk, _ = await wire.chunks(ids)
        assert chunk["error"]["message"] == "the script has no reply left for request 3"
        assert chunk["error"]["code"] == 400
        assert engine.requests[2].error == "the script has no reply left for request 3"


async def test_a_call_under_a_schema_is_bare_json(connect: Connect) -> None:
    async with scripted_engine([CallTool("calculator", expression="2+2")]) as engine, connect(engine.url) as wire:
        body = {"input_ids": await wire.prompt(), "sampling_params": {"json_schema": "{}"}}
        reply = (await wire.http.post("/generate", json=body)).json()
        assert json.loads(reply["text"]) == {"name": "calculator", "arguments": {"expression": "2+2"}}


async def test_a_request_for_no_tokens_takes_no_reply(connect: Connect) -> None:
    async with scripted_engine([Say("one")]) as engine, connect(engine.url) as wire:
        ids = await wire.prompt()
        assert (await wire.generate(ids, max_new_tokens=0))["text"] == ""
        assert (await wire.generate(ids))["text"] == "one"


async def test_a_function_sees_the_request(connect: Connect) -> None:
    seen: list[ScriptedRequest] = []

    async def script(request: ScriptedRequest) -> Reply:
        seen.append(request)
        return Say(f"{request.last_message}, step {request.step}, attempt {request.attempt}")

    async with scripted_engine(script) as engine, connect(engine.url) as wire:
        ids = await wire.prompt("hello")
        texts = [
            (await wire.generate(ids, rid=rid, priority=7, cache_salt="tenant"))["text"] for rid in ("first", "second")
        ]
        assert texts == ["hello, step 0, attempt 1", "hello, step 0, attempt 2"]

        said = [
            {"role": "user", "content": "2+2?"},
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "calculator"}}]},
            {"role": "tool", "content": "4\n4"},
        ]
        tokenized = await wire.post("/v1/tokenize", {"messages": said, "add_generation_prompt": True})
        assert (await wire.generate(tokenized["tokens"]))["text"] == "4\n4, step 1, attempt 1"

    first = seen[0]
    assert (first.number, first.rid, first.priority, first.cache_salt) == (1, "first", 7, "tenant")
    assert first.prompt_ids == ids
    assert first.prompt.endswith("<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n")
    assert [message.role for message in seen[2].messages] == ["system", "user", "assistant", "tool"]
    assert first.sampling_params == {"max_new_tokens": 100, "temperature": 0}


async def test_a_function_that_raises_is_named(connect: Connect) -> None:
    def script(request: ScriptedRequest) -> Reply:
        raise KeyError("no such case")

    async with scripted_engine(script) as engine, connect(engine.url) as wire:
        refused = await wire.http.post("/generate", json={"input_ids": await wire.prompt()})
        assert refused.status_code == 400
        assert "the script raised KeyError for request 1: 'no such case'" in refused.text


async def test_what_a_model_writes(connect: Connect) -> None:
    calls = (CallTool("calculator", expression="2+2"), CallTool("calculator", expression="é"))
    script = [
        Say(json={"text": "4"}),
        CallTool("calculator", expression="1"),
        Say("Both: ", reasoning="hm", calls=calls),
    ]
    async with scripted_engine(script, reasoning_parser="qwen3") as engine, connect(engine.url) as wire:
        ids = await wire.prompt()
        assert json.loads((await wire.generate(ids))["text"]) == {"text": "4"}

        one = await wire.generate(ids)
        body = {"text": one["text"], "tools": TOOLS, "tool_call_parser": "qwen25"}
        parsed = await wire.post("/parse_function_call", body)
        assert parsed["normal_text"] == ""
        assert [json.loads(call["parameters"]) for call in parsed["calls"]] == [{"expression": "1"}]

        both = await wire.generate(ids)
        thought = await wire.post("/separate_reasoning", {"text": both["text"], "reasoning_parser": "qwen3"})
        assert thought["reasoning_text"].strip() == "hm"
        assert 0 < both["meta_info"]["reasoning_tokens"] < both["meta_info"]["completion_tokens"]
        parsed = await wire.post("/parse_function_call", {**body, "text": thought["text"]})
        assert parsed["normal_text"] == "Both:"
        assert [json.loads(call["parameters"]) for call in parsed["calls"]] == [
            {"expression": "2+2"},
            {"expression": "é"},
        ]


async def test_a_reply_rendered_again_has_the_tokens_that_were_put_out(connect: Connect) -> None:
    script = [Say("Let me see. ", calls=(CallTool("calculator", expression="2+2"),))]
    async with scripted_engine(script) as engine, connect(engine.url) as wire:
        said: list[object] = [{"role": "user", "content": "2+2?"}]
        before = (await wire.post("/v1/tokenize", {"messages": said, "add_generation_prompt": True}))["tokens"]
        answered = await wire.generate(before)
        function = {"name": "calculator", "arguments": '{"expression": "2+2"}'}
        said.append({"role": "assistant", "content": "Let me see. ", "tool_calls": [{"function": function}]})
        after = (await wire.post("/v1/tokenize", {"messages": said, "add_generation_prompt": False}))["tokens"]
        assert after[: len(before) + len(answered["output_ids"])] == [*before, *answered["output_ids"]]


async def test_a_stop_string_ends_the_reply(connect: Connect) -> None:
    async with scripted_engine([Say("One. STOP Two."), Say("One. STOP Two.")]) as engine, connect(engine.url) as wire:
        ids = await wire.prompt()
        for no_trim, text in ((False, "One. "), (True, "One. STOP")):
            params = {"stop": ["never", "STOP"], "no_stop_trim": no_trim}
            answered = await wire.post("/generate", {"input_ids": ids, "sampling_params": params})
            assert answered["text"] == text
            assert answered["meta_info"]["finish_reason"] == {"type": "stop", "matched": "STOP"}


async def test_without_max_new_tokens_a_reply_has_at_most_128_as_with_sglang(connect: Connect) -> None:
    async with scripted_engine([Say("word" * 200)]) as engine, connect(engine.url) as wire:
        answered = await wire.post("/generate", {"input_ids": await wire.prompt()})
        assert answered["meta_info"]["finish_reason"] == {"type": "length", "length": 128}
        assert answered["text"] == "word" * 128


async def test_a_failure_has_the_status_and_retry_after(connect: Connect) -> None:
    async with scripted_engine([Fail(status=429, retry_after=1.5, message="slow down")] * 2) as engine:
        async with connect(engine.url) as wire:
            ids = await wire.prompt()
            for stream in (False, True):
                refused = await wire.http.post("/generate", json={"input_ids": ids, "stream": stream})
                assert (refused.status_code, refused.headers["retry-after"]) == (429, "1.5")
                assert refused.json()["message"] == "slow down"
        assert [record.finish for record in engine.requests] == ["error", "error"]
        assert engine.served.requests == 0


async def test_a_failure_in_the_stream_comes_as_sglangs_own(connect: Connect) -> None:
    script = [Fail(status=503, message="The request queue is full.", in_stream=True)]
    async with scripted_engine(script) as engine, connect(engine.url) as wire:
        chunk, done = await wire.chunks(await wire.prompt())
        assert done == "[DONE]"
        finish = {"type": "abort", "status_code": 503, "message": "The request queue is full."}
        assert chunk["meta_info"]["finish_reason"] == finish


async def test_a_break_closes_the_connection_after_its_tokens(connect: Connect) -> None:
    async with scripted_engine([Break(after_tokens=7), Break(after_tokens=3)]) as engine, connect(engine.url) as wire:
        ids = await wire.prompt()
        async with wire.stream(ids) as chunks:
            made = [(await anext(chunks))["meta_info"]["completion_tokens"] for _ in range(7)]
            assert made == [1, 2, 3, 4, 5, 6, 7]
            with pytest.raises(httpx.RemoteProtocolError):
                await anext(chunks)
        with pytest.raises(httpx.RemoteProtocolError):
            await wire.generate(ids)
        assert [record.finish for record in engine.requests] == ["broken", "broken"]


async def test_a_rate_takes_its_time(connect: Connect) -> None:
    script = [Say("word" * 19, tokens_per_second=200, delay=timedelta(milliseconds=50))]
    async with scripted_engine(script) as engine, connect(engine.url) as wire:
        *chunks, last, _ = await wire.chunks(await wire.prompt())
        assert len(chunks) == 19
        meta = last["meta_info"]
        # A little less than asked: sleeps and time stamps come from two clocks.
        assert meta["queue_time"] > 0.04
        assert meta["prefill_finished_time"] - meta["forward_entry_time"] > 0.8 / 200
        assert meta["request_finished_ts"] - meta["forward_entry_time"] > 19 / 200


async def test_a_long_instant_reply_comes_in_few_chunks(connect: Connect) -> None:
    async with scripted_engine([Say("word" * 10_000)]) as engine, connect(engine.url) as wire:
        chunks = await wire.chunks(await wire.prompt(), max_new_tokens=20_000)
        assert 64 <= len(chunks) < 140
        assert chunks[-2]["text"] == "word" * 10_000


async def test_a_held_reply_goes_on_when_released(connect: Connect) -> None:
    async with scripted_engine([Say("word" * 10, hold_after_tokens=5)]) as engine, connect(engine.url) as wire:
        with pytest.raises(DefinitionError):
            engine.release()
        ids = await wire.prompt()
        async with anyio.create_task_group() as tasks:

            async def read() -> None:
                chunks = await wire.chunks(ids)
                assert chunks[-2]["text"] == "word" * 10

            tasks.start_soon(read)
            await engine.wait_until_held()
            assert engine.requests[0].finish is None
            assert engine.requests[0].output == "word" * 5
            assert engine.release() == 1
        await engine.wait_until_idle()


async def test_waiting_in_vain_says_what_there_was() -> None:
    async with scripted_engine([Hang()]) as engine:
        with pytest.raises(TimeoutError, match=r"0\.001 s for 1 requests: it was asked 0 times"):
            await engine.wait_for_requests(1, timeout=timedelta(milliseconds=1))


async def test_an_engine_that_ends_lets_no_request_hang(connect: Connect) -> None:
    async def ask(wire: Wire, ids: list[int]) -> None:
        with pytest.raises(httpx.TransportError):
            await wire.generate(ids)

    engines: list[ScriptedEngine] = []
    async with AsyncExitStack() as clients, anyio.create_task_group() as tasks, scripted_engine([Hang()]) as engine:
        wire = await clients.enter_async_context(connect(engine.url))
        tasks.start_soon(ask, wire, await wire.prompt())
        await engine.wait_for_requests(1)
        engines.append(engine)
    assert [record.finish for record in engines[0].requests] == ["disconnected"]


async def test_it_says_that_it_is_scripted(connect: Connect) -> None:
    async with scripted_engine([]) as engine, connect(engine.url) as wire:
        info = (await wire.http.get("/server_info")).json()
        assert (info["version"], info["served_model_name"]) == ("scripted", "scripted")
        assert (info["tool_call_parser"], info["reasoning_parser"]) == ("qwen25", None)


def test_replies_are_values_that_show_themselves() -> None:
    call = CallTool("calculator", expression="2+2")
    assert call == CallTool("calculator", expression="2+2")
    assert repr(call) == "CallTool('calculator', expression='2+2')"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Say("text", json={}),
        lambda: Say("text", tokens_per_second=0),
        lambda: Fail(status=200),
        lambda: Fail(status=503, retry_after=1, in_stream=True),
    ],
)
def test_half_settings_are_refused(make: Callable[[], Reply]) -> None:
    with pytest.raises(DefinitionError):
        make()


def test_replies_from_json() -> None:
    replies = [
        {"type": "Say", "text": "hi", "delay": 0.5, "calls": [{"name": "calculator", "arguments": {"a": 1}}]},
        {"type": "Say", "json": {"a": 1}},
        {"type": "CallTool", "name": "calculator", "arguments": {"name": "a"}},
        {"type": "Fail", "status": 429, "retry_after": 2},
        {"type": "Break", "after_tokens": 3},
        {"type": "Hang"},
    ]
    arguments: Any = {"name": "a"}
    assert replies_from_json(json.dumps(replies)) == [
        Say("hi", delay=timedelta(seconds=0.5), calls=(CallTool("calculator", a=1),)),
        Say(json={"a": 1}),
        CallTool("calculator", **arguments),
        Fail(status=429, retry_after=2),
        Break(after_tokens=3),
        Hang(),
    ]


@pytest.mark.parametrize("text", ["{", "{}", '[{"type": "Shout"}]', '[{"type": "Say", "txt": "a"}]'])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        replies_from_json(text)
