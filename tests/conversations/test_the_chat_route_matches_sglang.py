"""The same conversations to the scripted engine and to the real SGLang; both answer in the shapes written here.

Text only: the small model that runs on a CPU sees no pictures. Of a conversation with pictures, what is held against
the real server is its refusal; that it takes the shape of one, SGLang's own `protocol.py` says.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, cast

import httpx
import pytest

from orchestrator.engine import EngineRequest, Generation, SGLang
from orchestrator.engine.call import EngineCall
from orchestrator.engine.chat import ChatPrompt
from orchestrator.errors import EngineRejected
from orchestrator.local import RunningEngine
from orchestrator.messages import ToolCall, ToolSpec
from orchestrator.steps import Sampling
from orchestrator.testing import CallTool, Reply, Say, ScriptedRequest, scripted_engine
from tests.eventually import eventually

HEAD = {"id": "str", "object": "str", "created": "int", "model": "str"}
USAGE = {
    "prompt_tokens": "int",
    "total_tokens": "int",
    "completion_tokens": "int",
    "prompt_tokens_details": {"cached_tokens": "int"},
    "reasoning_tokens": "int",
    "completion_tokens_details": "null",
}
REFUSAL = {"object": "str", "message": "str", "type": "str", "param": "null", "code": "int"}
CALL = {"id": "str", "index": "int", "type": "str", "function": {"name": "str", "arguments": "str"}}
REST_OF_CALL = {"id": "null", "index": "int", "type": "str", "function": {"name": "null", "arguments": "str"}}
CALCULATOR = ToolSpec(
    name="calculator",
    description="Compute arithmetic",
    parameters={"type": "object", "properties": {"expression": {"type": "string"}}},
)
CALLS = r'Well\. <tool_call>\n\{"name": "calculator", "arguments": \{"expression": "1\+1"\}\}\n</tool_call>'
SAID: list[Mapping[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Count to a thousand, in words."}]},
]

_rids = count()


def chunk(delta: Mapping[str, object], **more: object) -> object:
    choice = {"index": "int", "delta": delta, "logprobs": "null", "finish_reason": "null", "matched_stop": "null"}
    usage = {"usage": more.pop("usage")} if "usage" in more else {}
    return {**HEAD, "choices": [{**choice, **more}], **usage}


FIRST = chunk({"reasoning_content": "null", "role": "str", "content": "str"})
MIDDLE = chunk({"reasoning_content": "null", "content": "str"}, usage=USAGE)
PARSED = chunk({"role": "null", "content": "str", "reasoning_content": "null"}, usage=USAGE)
LENGTH = chunk({"reasoning_content": "null"}, finish_reason="str")
STOP = chunk({"reasoning_content": "null"}, finish_reason="str", matched_stop="int")
BILL: dict[str, object] = {**HEAD, "choices": [], "usage": USAGE}


def called(call: object) -> object:
    delta = {"role": "null", "content": "null", "reasoning_content": "null", "tool_calls": [call]}
    return chunk(delta, usage=USAGE)


def shape(value: object) -> object:
    if isinstance(value, dict):
        return {key: shape(part) for key, part in cast("dict[str, object]", value).items()}
    if isinstance(value, list):
        return [shape(part) for part in cast("list[object]", value)[:1]]
    return "null" if value is None else type(value).__name__


def reply(request: ScriptedRequest) -> Reply:
    if "<tools>" in request.prompt and "json_schema" not in request.sampling_params:
        return Say("Well. ", calls=(CallTool("calculator", expression="1+1"),))
    if "json_schema" in request.sampling_params:
        return Say(json={"a": True})
    return Say("One, two, three, four, five, six, seven, eight. " * 20, tokens_per_second=500)


@pytest.fixture
async def scripted_url() -> AsyncIterator[str]:
    async with scripted_engine(reply, context_length=8192) as engine:
        yield engine.url


@pytest.fixture
def real_url(sglang: RunningEngine) -> str:
    return sglang.url


@pytest.fixture(params=["scripted", pytest.param("real", marks=pytest.mark.engine)])
def url(request: pytest.FixtureRequest) -> str:
    """Each test that asks for it runs against both servers."""
    return cast("str", request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
async def http(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, timeout=120, trust_env=False) as http:
        yield http


@asynccontextmanager
async def streamed(http: httpx.AsyncClient, **fields: Any) -> AsyncGenerator[AsyncGenerator[Any]]:
    body: dict[str, Any] = {
        "messages": SAID,
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "separate_reasoning": False,
        "temperature": 0,
        "max_completion_tokens": 4,
        **fields,
    }
    async with http.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.status_code == 200, await response.aread()
        yield _chunks(response)


async def _chunks(response: httpx.Response) -> AsyncGenerator[Any]:
    async for line in response.aiter_lines():
        if line:
            data = line.removeprefix("data: ")
            yield data if data == "[DONE]" else json.loads(data)


async def chunks(http: httpx.AsyncClient, **fields: Any) -> list[Any]:
    async with streamed(http, **fields) as got:
        return [each async for each in got]


async def refused(http: httpx.AsyncClient, **fields: Any) -> Any:
    body: dict[str, Any] = {"messages": SAID, "stream": True, "max_completion_tokens": 4, **fields}
    response = await http.post("/v1/chat/completions", json=body)
    assert response.status_code == 400
    assert shape(response.json()) == REFUSAL
    return response.json()


def _rid() -> str:
    return f"chat{next(_rids):028x}"


async def test_a_stream_says_with_each_chunk_what_was_used(http: httpx.AsyncClient) -> None:
    rid = _rid()
    first, *middle, last, bill, done = await chunks(http, rid=rid, cache_salt=rid)
    assert shape(first) == FIRST
    assert [shape(each) for each in middle] == [MIDDLE] * len(middle)
    assert shape(last) == LENGTH
    assert last["choices"][0]["finish_reason"] == "length"
    assert shape(bill) == BILL
    assert done == "[DONE]"
    assert {each["id"] for each in (first, *middle, last, bill)} == {rid}
    assert bill["usage"]["completion_tokens"] == 4
    assert bill["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}
    assert [each["usage"]["completion_tokens"] for each in middle] == sorted(
        each["usage"]["completion_tokens"] for each in middle
    )
    again = await chunks(http, cache_salt=rid)
    usage = again[-2]["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == usage["prompt_tokens"] - 1
    other = await chunks(http, cache_salt=f"{rid} of another tenant")
    assert other[-2]["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


async def test_a_call_comes_with_its_name_first(http: httpx.AsyncClient) -> None:
    tools = [{"type": "function", "function": CALCULATOR.model_dump()}]
    got = await chunks(http, tools=tools, tool_choice="auto", regex=CALLS, max_completion_tokens=80)
    shapes = [shape(each) for each in got]
    begin = shapes.index(called(CALL))
    assert shapes[0] == FIRST
    assert shapes[1:begin] == [PARSED] * (begin - 1)
    assert shapes[begin + 1 : -3] == [called(REST_OF_CALL)] * (len(shapes) - begin - 4)
    assert shapes[-3:] == [STOP, BILL, "str"]
    assert got[-3]["choices"][0]["finish_reason"] == "tool_calls"
    assert "".join(each["choices"][0]["delta"]["content"] for each in got[1:begin]) == "Well. "


async def test_what_cannot_be_served_is_refused(http: httpx.AsyncClient) -> None:
    url = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aaaa"}}
    picture = await refused(http, messages=[{"role": "user", "content": [url, {"type": "text", "text": "What?"}]}])
    assert picture["message"] == "Model only supports text input; received unsupported content type 'image_url'."
    assert "maximum context length" in (await refused(http, max_completion_tokens=100_000))["message"]
    assert (await refused(http, messages=[]))["message"] == "Messages cannot be empty."
    call = {"id": "1", "type": "function", "function": {"name": "calculator", "arguments": "{"}}
    said = [*SAID, {"role": "assistant", "content": "", "tool_calls": [call]}]
    told = (await refused(http, messages=said))["message"]
    assert told == "Assistant tool call function.arguments must be valid JSON."


@pytest.fixture
async def ask(url: str) -> AsyncIterator[Callable[..., EngineCall]]:
    async with SGLang.open(url) as engine:

        def ask(prompt: ChatPrompt, *, max_tokens: int = 8, schema: Mapping[str, Any] | None = None) -> EngineCall:
            sampling = Sampling(max_tokens=max_tokens)
            request = EngineRequest(rid=_rid(), ids=(), chat=prompt, sampling=sampling, output_schema=schema)
            return EngineCall(engine, request)

        yield ask


def prompt(*tools: ToolSpec, said: list[Mapping[str, Any]] = SAID) -> ChatPrompt:
    return ChatPrompt(messages=said, tools=tools, tokens=20)


async def test_our_client_reads_it(ask: Callable[..., EngineCall]) -> None:
    async with ask(prompt()) as call:
        made: Generation = await call.finished()
    assert made.text
    assert made.finish == "length"
    assert made.usage.output == 8
    assert (made.usage.cached or 0) < (made.usage.prompt or 0)
    assert call.confirmed
    assert call.first_token is not None


async def test_our_client_holds_it_to_a_schema(ask: Callable[..., EngineCall]) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "boolean"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    async with ask(prompt(CALCULATOR), max_tokens=30, schema=schema) as call:
        made = await call.finished()
    assert set(json.loads(made.text)) == {"a"}
    assert made.finish == "stop"
    assert not made.calls


async def test_our_client_aborts_it_and_knows_its_bill(ask: Callable[..., EngineCall]) -> None:
    async with ask(prompt(), max_tokens=400) as call:

        async def has_begun() -> bool:
            return bool(call.generation.usage.output)

        await eventually(has_begun)
        await call.abort()
    assert call.generation.finish == "abort"
    assert call.confirmed
    assert 0 < (call.generation.usage.output or 0) < 400


async def test_our_client_says_why_it_was_refused(ask: Callable[..., EngineCall]) -> None:
    async with ask(prompt(), max_tokens=100_000) as call:
        with pytest.raises(EngineRejected, match="maximum context length"):
            await call.finished()
    assert call.confirmed


async def test_our_client_puts_calls_together(scripted_url: str) -> None:
    async with SGLang.open(scripted_url) as engine:
        request = EngineRequest(rid=_rid(), ids=(), chat=prompt(CALCULATOR), sampling=Sampling(max_tokens=80))
        async with EngineCall(engine, request) as call:
            made = await call.finished()
    assert made.text == "Well. "
    assert made.calls == [ToolCall(id="", name="calculator", arguments='{"expression": "1+1"}')]
    assert made.finish == "stop"
