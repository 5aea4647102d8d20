"""The same requests to the scripted engine and to the real SGLang; both must answer in the shapes written here.

A shape is a value with its scalars replaced by their types. Token ids come from the server's own tokenizer only: an id
outside the vocabulary ends the real server.
"""

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import pytest

from orchestrator.testing import Reply, Say, ScriptedRequest, scripted_engine

if TYPE_CHECKING:
    from conftest import Wire
else:
    Wire = Any

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "calculator",
            "description": "Compute arithmetic",
            "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}},
        },
    }
]

MIDDLE = {
    "id": "str",
    "finish_reason": "null",
    "prompt_tokens": "int",
    "weight_version": "str",
    "num_retractions": "int",
    "storage_prefetch_wait": "float",
    "storage_staging_wait": "float",
    "forward_entry_time": "float",
    "prefill_finished_time": "float",
    "queue_time": "float",
    "reasoning_tokens": "int",
    "completion_tokens": "int",
    "cached_tokens": "int",
    "cached_tokens_details": {"device": "int", "host": "int"},
    "dp_rank": "null",
}
FIRST = {**MIDDLE, "response_sent_to_client_ts": "float"}
LAST = {
    **FIRST,
    "weight_versions": [{"version": "str", "start": "int", "end": "int"}],
    "e2e_latency": "float",
    "request_received_ts": "float",
    "first_token_latency": "float",
    "api_server_dispatch_finish_ts": "float",
    "request_finished_ts": "float",
}
LENGTH = {"type": "str", "length": "int"}
STOP = {"type": "str", "matched": "int"}
ABORT = {"type": "str", "message": "str", "status_code": "null", "err_type": "null"}
NATIVE_ERROR = {"error": {"message": "str"}}
STREAM_ERROR = {"error": {"message": "str", "type": "str", "code": "int", "retryable": "bool"}}
OTHER_ERROR = {"object": "str", "message": "str", "type": "str", "param": "null", "code": "int"}


def shape(value: object) -> object:
    if isinstance(value, dict):
        return {key: shape(part) for key, part in cast("dict[str, object]", value).items()}
    if isinstance(value, list):
        return [shape(part) for part in cast("list[object]", value)[:1]]
    return "null" if value is None else type(value).__name__


def answer(meta: object, ids: object = ("int",)) -> object:
    return {"text": "str", "output_ids": list(cast("tuple[str, ...]", ids)), "meta_info": meta}


def reply(request: ScriptedRequest) -> Reply:
    if "regex" in request.sampling_params:
        return Say("yes")
    return Say("One, two, three, four, five, six, seven, eight. " * 20, tokens_per_second=500)


@pytest.fixture
async def scripted_url() -> AsyncIterator[str]:
    async with scripted_engine(reply, context_length=8192) as engine:
        yield engine.url


@pytest.fixture(params=["scripted", "sglang"])
def server_url(request: pytest.FixtureRequest) -> str:
    """Each test that asks for it runs against both servers."""
    return cast("str", request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
async def server(server_url: str, connect: Callable[[str], AbstractAsyncContextManager[Wire]]) -> AsyncIterator[Wire]:
    async with connect(server_url) as wire:
        yield wire


async def warm(server: Wire, text: str = "Count.") -> list[int]:
    """A prompt that is in the cache."""
    ids = await server.prompt(text)
    answered = await server.generate(ids, max_new_tokens=0)
    assert answered["output_ids"] == []
    assert answered["meta_info"]["finish_reason"] == {"type": "length", "length": 0}
    return ids


async def test_a_whole_answer(server: Wire) -> None:
    ids = await warm(server)
    answered = await server.generate(ids, max_new_tokens=3, rid="whole" * 6)

    assert shape(answered) == answer({**LAST, "finish_reason": LENGTH, "decode_throughput": "float"})
    meta = answered["meta_info"]
    assert meta["id"] == "whole" * 6
    assert (
        (meta["prompt_tokens"], meta["completion_tokens"]) == (len(ids), 3) == (len(ids), len(answered["output_ids"]))
    )
    assert meta["finish_reason"] == {"type": "length", "length": 3}
    assert meta["cached_tokens"] == len(ids) - 1


async def test_a_stream(server: Wire) -> None:
    ids = await warm(server)
    *chunks, done = await server.chunks(ids, max_new_tokens=6)

    assert done == "[DONE]"
    assert shape(chunks[0]) == answer(FIRST)
    assert [shape(chunk) for chunk in chunks[1:-1]] == [answer(MIDDLE)] * (len(chunks) - 2)
    assert shape(chunks[-1]) == answer({**LAST, "finish_reason": LENGTH, "decode_throughput": "float"})
    for before, after in pairwise(chunks):
        made = before["meta_info"]["completion_tokens"]
        assert after["text"].startswith(before["text"])
        assert after["output_ids"][:made] == before["output_ids"]
        assert len(before["output_ids"]) == made < after["meta_info"]["completion_tokens"]


async def test_a_stream_of_no_tokens(server: Wire) -> None:
    ids = await warm(server)
    chunk, done = await server.chunks(ids, max_new_tokens=0)
    assert done == "[DONE]"
    assert shape(chunk) == answer({**LAST, "finish_reason": LENGTH}, ids=())


async def test_a_reply_that_ends_by_itself_ends_with_the_end_of_turn_token(server: Wire) -> None:
    ids = await warm(server)
    params = {"max_new_tokens": 20, "temperature": 0, "regex": "yes"}
    answered = await server.post("/generate", {"input_ids": ids, "sampling_params": params})

    assert shape(answered) == answer({**LAST, "finish_reason": STOP, "decode_throughput": "float"})
    assert answered["text"] == "yes"
    matched = answered["meta_info"]["finish_reason"]["matched"]
    assert answered["output_ids"][-1] == matched
    closed = await server.post("/v1/detokenize", {"tokens": [matched], "skip_special_tokens": False})
    assert closed == {"text": "<|im_end|>"}


async def test_what_a_follow_up_finds_in_the_cache(server: Wire) -> None:
    ids = await server.prompt()
    newline = (await server.post("/v1/tokenize", {"prompt": "\n"}))["tokens"]

    async def missing_after(salt: str, **params: object) -> int:
        """How many of the first request's tokens, prompt and reply, the second doesn't find; salts are used once."""
        salt += uuid4().hex
        body = {"sampling_params": {"temperature": 0, "max_new_tokens": 20, **params}, "cache_salt": salt}
        first = await server.post("/generate", {"input_ids": ids, **body})
        assert first["meta_info"]["cached_tokens"] == 0
        assert first["meta_info"]["cached_tokens_details"] is None
        longer = [*ids, *first["output_ids"]]
        second = await server.generate([*longer, *newline, *newline], max_new_tokens=1, cache_salt=salt)
        return len(longer) - second["meta_info"]["cached_tokens"]

    assert await missing_after("cut short", max_new_tokens=4) == 1  # the last token was sampled, and never computed
    assert await missing_after("ended by itself", regex="yes") == 0


async def test_an_aborted_stream_ends_with_the_tokens_made_so_far(server: Wire) -> None:
    ids = await warm(server)
    rid = "aborted-stream-0123456789abcdef"
    async with server.stream(ids, max_new_tokens=200, rid=rid) as chunks:
        first = await anext(chunks)
        for unknown in (rid[:-1], "another", ""):
            assert (await server.http.post("/abort_request", json={"rid": unknown})).status_code == 200
        second = await anext(chunks)
        assert second["meta_info"]["finish_reason"] is None  # a prefix that is no live request's id aborts nothing
        aborted = await server.http.post("/abort_request", json={"rid": rid})
        *_, last, done = [chunk async for chunk in chunks]

    assert (aborted.status_code, aborted.content) == (200, b"")
    assert done == "[DONE]"
    assert shape(last) == answer({**LAST, "finish_reason": ABORT, "decode_throughput": "float"})
    assert last["meta_info"]["finish_reason"]["message"] == "Aborted"
    made = last["meta_info"]["completion_tokens"]
    assert first["meta_info"]["completion_tokens"] < made == len(last["output_ids"]) < 200


async def test_an_abort_takes_every_request_whose_id_begins_with_that_of_a_live_one(server: Wire) -> None:
    ids = await warm(server)
    async with (
        server.stream(ids, max_new_tokens=200, rid="family-1") as one,
        server.stream(ids, max_new_tokens=200, rid="family-10") as ten,
    ):
        await anext(one)
        await anext(ten)
        await server.post_empty("/abort_request", {"rid": "family-1"})
        ends = [[chunk async for chunk in chunks][-2] for chunks in (one, ten)]
    assert [end["meta_info"]["finish_reason"]["type"] for end in ends] == ["abort", "abort"]


async def test_a_rid_that_is_in_use(server: Wire) -> None:
    ids = await warm(server)
    async with server.stream(ids, max_new_tokens=200, rid="taken-twice") as chunks:
        await anext(chunks)
        refused = await server.http.post("/generate", json={"input_ids": ids, "rid": "taken-twice"})
        await server.post_empty("/abort_request", {"rid": "taken-twice"})
        async for _ in chunks:
            pass
    assert (refused.status_code, shape(refused.json())) == (400, NATIVE_ERROR)
    assert "Duplicate request ID" in refused.text


BAD: dict[str, Callable[[list[int]], dict[str, object]]] = {
    "too long": lambda ids: {"input_ids": (ids * 9000)[:9000], "sampling_params": {"max_new_tokens": 2}},
    "too many new": lambda ids: {"input_ids": ids, "sampling_params": {"max_new_tokens": 9000}},
    "negative": lambda ids: {"input_ids": ids, "sampling_params": {"max_new_tokens": -2}},
    "cold": lambda ids: {"input_ids": ids, "sampling_params": {"temperature": -1}},
    "no prompt": lambda ids: {"sampling_params": {"max_new_tokens": 2}},
    "empty prompt": lambda ids: {"input_ids": [], "sampling_params": {"max_new_tokens": 2}},
}
MESSAGES = {
    "too long": "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
    "too many new": "Requested token count exceeds the model's maximum context length of 8192 tokens.",
    "negative": "max_new_tokens must be at least 0, got -2.",
    "cold": "temperature must be a non-negative finite number, got -1.",
    "no prompt": "Either text, input_ids or input_embeds should be provided.",
    "empty prompt": "input_ids cannot be empty.",
}


@pytest.mark.parametrize("what", BAD)
async def test_a_request_that_cant_be_served(server: Wire, what: str) -> None:
    body = BAD[what](await server.prompt())
    refused = await server.http.post("/generate", json=body)
    assert (refused.status_code, shape(refused.json())) == (400, NATIVE_ERROR)
    assert refused.json()["error"]["message"].startswith(MESSAGES[what])

    async with server.http.stream("POST", "/generate", json={**body, "stream": True}) as response:
        assert response.status_code == 200
        data, done = [line async for line in response.aiter_lines() if line]
    assert done == "data: [DONE]"
    chunk = json.loads(data.removeprefix("data: "))
    assert shape(chunk) == STREAM_ERROR
    assert chunk["error"]["message"].startswith(MESSAGES[what])
    assert (chunk["error"]["code"], chunk["error"]["retryable"]) == (400, False)


async def test_a_schema_that_is_no_json(server: Wire) -> None:
    ids = await server.prompt()
    params = {"max_new_tokens": 8, "json_schema": '{"type":"objec'}
    refused = await server.http.post("/generate", json={"input_ids": ids, "sampling_params": params})
    assert (refused.status_code, shape(refused.json())) == (400, NATIVE_ERROR)

    body = {"input_ids": ids, "stream": True, "sampling_params": params}
    async with server.http.stream("POST", "/generate", json=body) as response:
        data, _ = [line async for line in response.aiter_lines() if line]
    chunk = json.loads(data.removeprefix("data: "))
    finish = {"type": "str", "message": "str", "status_code": "int", "err_type": "str"}
    assert shape(chunk) == answer({**LAST, "finish_reason": finish, "cached_tokens_details": "null"})
    finished = chunk["meta_info"]["finish_reason"]
    assert (finished["type"], finished["status_code"], finished["err_type"]) == ("abort", 400, "BadRequestError")
    assert finished["message"] == refused.json()["error"]["message"]
    assert finished["message"].startswith("Failed to compile json grammar:")
    assert (chunk["meta_info"]["prompt_tokens"], chunk["meta_info"]["completion_tokens"]) == (1, 1)


async def test_sampling_parameters_of_another_name_or_type(server: Wire) -> None:
    ids = await server.prompt()
    for params in ({"max_tokens": 2}, {"json_schema": {"type": "object"}}):
        refused = await server.http.post("/generate", json={"input_ids": ids, "sampling_params": params})
        assert (refused.status_code, shape(refused.json())) == (400, {"error": "str"})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/generate", {"input_ids": "abc"}),
        ("/v1/tokenize", {}),
        ("/v1/tokenize", {"prompt": "a", "messages": [{"role": "user", "content": "a"}]}),
        ("/close_session", {}),
    ],
)
async def test_a_body_that_breaks_the_schema(server: Wire, path: str, body: object) -> None:
    refused = await server.http.post(path, json=body)
    assert (refused.status_code, shape(refused.json())) == (400, OTHER_ERROR)
    assert (refused.json()["type"], refused.json()["code"]) == ("Bad Request", 400)


async def test_tokenize_and_detokenize(server: Wire) -> None:
    tokenized = await server.post("/v1/tokenize", {"prompt": "héllo <|im_end|> wörld 🌍"})
    assert shape(tokenized) == {"tokens": ["int"], "count": "int", "max_model_len": "int"}
    assert tokenized["count"] == len(tokenized["tokens"])
    kept = await server.post("/v1/detokenize", {"tokens": tokenized["tokens"], "skip_special_tokens": False})
    assert kept == {"text": "héllo <|im_end|> wörld 🌍"}
    skipped = await server.post("/v1/detokenize", {"tokens": tokenized["tokens"]})
    assert skipped == {"text": "héllo  wörld 🌍"}

    several = await server.post("/v1/tokenize", {"prompt": ["a", "b"]})
    assert shape(several) == {"tokens": [["int"]], "count": ["int"], "max_model_len": "int"}
    assert await server.post("/v1/detokenize", {"tokens": several["tokens"]}) == {"text": ["a", "b"]}


CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "What is 2+2?"}]},
    {
        "role": "assistant",
        "content": "Let me see. ",
        "tool_calls": [
            {
                "id": "call-1",
                "type": "function",
                "function": {"name": "calculator", "arguments": '{"expression":"2+2"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call-1", "name": "calculator", "content": "4"},
    {"role": "assistant", "content": "It is 4."},
    {"role": "user", "content": "Thanks."},
]
RENDERED = (
    "<|im_start|>system\nBe brief.\n\n"
    "You may call one or more functions. Their signatures are within <tools></tools> tags:\n<tools>\n"
    + json.dumps(TOOLS[0])
    + "\n</tools>\n\n"
    "For each call return a JSON object with name and arguments within <tool_call></tool_call> tags:\n"
    '<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call><|im_end|>\n'
    "<|im_start|>user\nWhat is 2+2?<|im_end|>\n"
    '<|im_start|>assistant\nLet me see. <tool_call>\n{"name": "calculator", "arguments": {"expression": "2+2"}}\n'
    "</tool_call><|im_end|>\n"
    "<|im_start|>user\n<tool_response>\n4\n</tool_response><|im_end|>\n"
    "<|im_start|>assistant\nIt is 4.<|im_end|>\n"
    "<|im_start|>user\nThanks.<|im_end|>\n"
)


async def test_a_conversation_is_rendered_by_the_template(server: Wire) -> None:
    async def rendered(**fields: object) -> str:
        tokens = (await server.post("/v1/tokenize", {"messages": CONVERSATION, "tools": TOOLS, **fields}))["tokens"]
        text = await server.post("/v1/detokenize", {"tokens": tokens, "skip_special_tokens": False})
        return text["text"].replace(', "defer_loading": null', "")  # SGLang's own field

    assert await rendered(add_generation_prompt=False) == RENDERED
    assert await rendered(add_generation_prompt=True) == RENDERED + "<|im_start|>assistant\n"


CALL = '<tool_call>\n{"name":"calculator","arguments":{"expression":"2+2"}}\n</tool_call>'
PARSED = {"tool_index": 0, "name": "calculator", "parameters": '{"expression": "2+2"}'}


@pytest.mark.parametrize(
    ("text", "normal_text", "calls"),
    [
        ("hello", "hello", []),
        (f"hello {CALL}", "hello", [PARSED]),
        (f"a{CALL}b\n{CALL}c", "a", [PARSED, PARSED]),
        (CALL.replace("calculator", "unknown"), "", [{**PARSED, "tool_index": -1, "name": "unknown"}]),
        (CALL.replace("arguments", "parameters"), "", [PARSED]),
        ('<tool_call>\n{"name":"calculator"}\n</tool_call>', "", [{**PARSED, "parameters": "{}"}]),
        (f"a{CALL[:-14]}", "a", []),
        (CALL.replace("}}", "}"), "", []),
        (CALL.replace("\n", ""), CALL.replace("\n", ""), []),
    ],
)
async def test_parse_function_call(server: Wire, text: str, normal_text: str, calls: list[object]) -> None:
    body = {"text": text, "tools": TOOLS, "tool_call_parser": "qwen25"}
    assert await server.post("/parse_function_call", body) == {"normal_text": normal_text, "calls": calls}


@pytest.mark.parametrize(
    ("parser", "text", "reasoning_text", "rest"),
    [
        ("qwen3", "<think>\nhm\n</think>\n\nanswer", "\nhm\n", "\n\nanswer"),
        ("qwen3", " answer ", "", " answer "),
        ("qwen3", "<think>hm", "hm", ""),
        ("qwen3", "hm</think>a", "", "hm</think>a"),
        ("deepseek-r1", "hm</think>a", "hm", "a"),
    ],
)
async def test_separate_reasoning(server: Wire, parser: str, text: str, reasoning_text: str, rest: str) -> None:
    body = {"text": text, "reasoning_parser": parser}
    assert await server.post("/separate_reasoning", body) == {"reasoning_text": reasoning_text, "text": rest}


DESCRIPTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "/server_info": {
        "model_path": ("str",),
        "served_model_name": ("str",),
        "context_length": ("int", "null"),
        "tool_call_parser": ("str",),
        "reasoning_parser": ("null",),
        "max_total_num_tokens": ("int",),
        "max_req_input_len": ("int",),
        "max_running_requests": ("int",),
        "enable_metrics": ("bool",),
        "version": ("str",),
        "internal_states": ("list",),
    },
    "/model_info": {
        "model_path": ("str",),
        "served_model_name": ("str",),
        "tokenizer_path": ("str",),
        "is_generation": ("bool",),
        "weight_version": ("str",),
        "reasoning_parser": ("null",),
        "tool_call_parser": ("str",),
        "model_type": ("str",),
        "architectures": ("list",),
    },
}


@pytest.mark.parametrize("path", DESCRIPTIONS)
async def test_descriptions(server: Wire, path: str) -> None:
    described = (await server.http.get(path)).json()
    for key, kinds in DESCRIPTIONS[path].items():
        value = described[key]
        assert ("null" if value is None else type(value).__name__) in kinds, key


async def test_models(server: Wire) -> None:
    models = (await server.http.get("/v1/models")).json()
    card = dict.fromkeys(("id", "object", "owned_by", "root"), "str")
    assert shape(models) == {
        "object": "str",
        "data": [{**card, "created": "int", "parent": "null", "max_model_len": "int"}],
    }
    assert models["data"][0]["max_model_len"] == 8192


async def test_loads(server: Wire) -> None:
    loads = (await server.http.get("/v1/loads")).json()
    expected = {
        "timestamp": "float",
        "dp_rank": "int",
        "num_running_reqs": "int",
        "num_waiting_reqs": "int",
        "num_waiting_uncached_tokens": "int",
        "num_used_tokens": "int",
        "num_total_tokens": "int",
        "max_total_num_tokens": "int",
        "max_running_requests": "int",
        "token_usage": "float",
        "gen_throughput": "float",
        "cache_hit_rate": "float",
        "utilization": "float",
        "total_prefill_uncached_tokens": "int",
        "total_prefill_busy_us": "int",
        "decode_moments": ["float"],
    }
    assert loads.keys() == {"timestamp", "version", "accelerator", "num_accelerators", "loads"}
    found = cast("dict[str, object]", shape(loads["loads"][0]))
    assert {key: found.get(key) for key in expected} == expected
    assert len(loads["loads"][0]["decode_moments"]) == 6


REQUEST = {"engine_type", "model_name", "priority", "tenant", "workflow"}
RANK = {"engine_type", "model_name", "moe_ep_rank", "pp_rank", "priority", "tp_rank"}
FAMILIES = {
    "prompt_tokens_total": ("counter", REQUEST | {"is_streaming"}),
    "generation_tokens_total": ("counter", REQUEST | {"is_streaming"}),
    "num_requests_total": ("counter", REQUEST | {"is_streaming"}),
    "cached_tokens_total": ("counter", REQUEST | {"cache_source"}),
    "num_aborted_requests_total": ("counter", REQUEST),
    "num_running_reqs": ("gauge", RANK),
    "num_queue_reqs": ("gauge", RANK),
}


async def test_metrics(server: Wire) -> None:
    ids = await warm(server)
    async with server.stream(ids, max_new_tokens=200, rid="metrics-1") as chunks:
        await anext(chunks)
        await server.post_empty("/abort_request", {"rid": "metrics-1"})
        async for _ in chunks:
            pass
    response = await server.http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    for name, (kind, labels) in FAMILIES.items():
        assert f"# TYPE sglang:{name} {kind}\n" in response.text
        samples = re.findall(rf"^sglang:{name}{{(.*)}} \d+\.\d+$", response.text, re.MULTILINE)
        assert samples, name
        for sample in samples:
            assert set(re.findall(r'(\w+)="', sample)) == labels, name


async def test_endpoints_that_answer_with_nothing(server: Wire) -> None:
    for method, path, body in (
        ("GET", "/health", None),
        ("POST", "/close_session", {"session_id": "contract-test"}),
        ("POST", "/abort_request", {"rid": "nobody"}),
        ("POST", "/abort_request", {}),
    ):
        response = await server.http.request(method, path, json=body)
        assert (response.status_code, response.content) == (200, b""), path
    unknown = await server.http.get("/no-such-path")
    assert (unknown.status_code, unknown.json()) == (404, {"detail": "Not Found"})


async def test_the_cache_is_flushed(server: Wire) -> None:
    ids = await warm(server)
    flushed = await server.http.post("/flush_cache")
    assert flushed.status_code == 200
    assert flushed.text.startswith("Cache flushed.")
    assert (await server.generate(ids, max_new_tokens=1))["meta_info"]["cached_tokens"] == 0
