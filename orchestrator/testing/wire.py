"""The shapes of SGLang's native wire, as version 0.5.23 sends them.

Shapes only: no sockets, no state. Sources: `sglang/srt/entrypoints/http_server.py`, `managers/tokenizer_manager.py`
and `observability/req_time_stats.py`; the contract tests hold both servers against each other.
"""

import json
from collections.abc import Mapping

from pydantic import BaseModel, Field, JsonValue, ValidationError
from starlette.responses import Response
from starlette.types import Send

from orchestrator.testing.chat import ChatMessage

__all__ = [
    "AbortBody",
    "CloseSessionBody",
    "DetokenizeBody",
    "GenerateBody",
    "JsonResponse",
    "ParseBody",
    "Refused",
    "SamplingParams",
    "SeparateBody",
    "Stream",
    "TokenizeBody",
    "error_chunk",
    "error_response",
    "invalid_body",
    "native_error",
    "one_chunk",
    "parse_sampling_params",
    "schema_problem",
]


class JsonResponse(Response):
    media_type = "application/json"

    def render(self, content: object) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode()


class SamplingParams(BaseModel):
    """The parameters that change what the scripted engine does; it accepts SGLang's others, and they do nothing."""

    max_new_tokens: int | None = 128
    n: int = 1
    temperature: float = 1.0
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    json_schema: str | None = None
    no_stop_trim: bool = False


_SAMPLING_NAMES = (
    "max_new_tokens", "stop", "stop_token_ids", "stop_regex", "temperature", "top_p", "top_k", "min_p",
    "frequency_penalty", "presence_penalty", "repetition_penalty", "min_new_tokens", "n", "json_schema", "regex",
    "ebnf", "structural_tag", "ignore_eos", "skip_special_tokens", "spaces_between_special_tokens", "no_stop_trim",
    "stream_interval", "logit_bias", "sampling_seed", "custom_params", "beam_width", "watermark", "choice",
)  # fmt: skip


class GenerateBody(BaseModel):
    """One prompt. Unknown fields are passed over, as SGLang does."""

    input_ids: list[int] | None = None
    text: str | None = None
    sampling_params: dict[str, JsonValue] | None = None
    rid: str | None = None
    stream: bool = False
    priority: int | None = None
    cache_salt: str | None = None
    session_id: str | None = None
    custom_labels: dict[str, str] | None = None
    return_logprob: bool = False
    top_logprobs_num: int = 0
    token_ids_logprob: list[int] | None = None


class TokenizeBody(BaseModel):
    prompt: str | list[str] | None = None
    messages: list[ChatMessage] | None = None
    tools: list[dict[str, JsonValue]] | None = None
    add_generation_prompt: bool | None = None


class DetokenizeBody(BaseModel):
    tokens: list[int] | list[list[int]]
    skip_special_tokens: bool = True


class _Function(BaseModel):
    name: str


class _Tool(BaseModel):
    function: _Function


class ParseBody(BaseModel):
    text: str
    tools: list[_Tool] = Field(default_factory=list[_Tool])
    tool_call_parser: str | None = None


class SeparateBody(BaseModel):
    text: str
    reasoning_parser: str


class AbortBody(BaseModel):
    rid: str = ""
    abort_all: bool = False


class CloseSessionBody(BaseModel):
    session_id: str


class Refused(Exception):
    """A request that is refused for what it asks (SGLang's `ValueError`)."""


def parse_sampling_params(params: Mapping[str, JsonValue]) -> SamplingParams:
    """The parameters that matter.

    Raises:
        ValueError: a name or a type that SGLang doesn't have, by its schema check (`{"error": "..."}`).
        Refused: a value outside its range.
    """
    for name in params:
        if name not in _SAMPLING_NAMES:
            raise ValueError(
                f"unknown field `{name}`, expected one of {', '.join(f'`{known}`' for known in _SAMPLING_NAMES)}"
            )
    try:
        parsed = SamplingParams.model_validate(params)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if parsed.max_new_tokens is not None and parsed.max_new_tokens < 0:
        raise Refused(f"max_new_tokens must be at least 0, got {parsed.max_new_tokens}.")
    if parsed.temperature < 0:
        raise Refused(f"temperature must be a non-negative finite number, got {parsed.temperature:g}.")
    if parsed.n != 1:
        raise Refused(f"the scripted engine plays one reply for each request, so n must be 1, got {parsed.n}.")
    return parsed


def error_chunk(message: str, code: int) -> dict[str, JsonValue]:
    """How an error stands inside a stream."""
    return {"error": {"message": message, "type": "invalid_request_error", "code": code, "retryable": False}}


def native_error(message: str, code: int = 400) -> JsonResponse:
    """How `/generate` refuses a request that doesn't stream."""
    return JsonResponse({"error": {"message": message}}, status_code=code)


def error_response(message: str, code: int, *, kind: str | None = None, retry_after: float | None = None) -> Response:
    """How everything else is refused (`ErrorResponse`)."""
    headers = None if retry_after is None else {"retry-after": f"{retry_after:g}"}
    body = {"object": "error", "message": message, "type": kind or str(code), "param": None, "code": code}
    return JsonResponse(body, status_code=code, headers=headers)


def one_chunk(content: object) -> Response:
    """A stream that ends at once."""
    return Response(_data(content) + _DONE, media_type="text/event-stream")


class Stream:
    """Server-sent events: each chunk holds all the text so far."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._open = False

    async def open(self) -> None:
        if not self._open:
            self._open = True
            headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def send(self, content: object) -> None:
        await self.open()
        await self._send({"type": "http.response.body", "body": _data(content), "more_body": True})

    async def close(self) -> None:
        await self._send({"type": "http.response.body", "body": _DONE, "more_body": False})


_DONE = b"data: [DONE]\n\n"


def _data(content: object) -> bytes:
    return b"data: " + json.dumps(content, separators=(",", ":")).encode() + b"\n\n"


def invalid_body(error: ValidationError) -> Response:
    problems = [
        {"type": problem["type"], "loc": ("body", *problem["loc"]), "msg": problem["msg"]}
        for problem in error.errors(include_url=False)
    ]
    plural = "" if len(problems) == 1 else "s"
    return error_response(f"{len(problems)} validation error{plural}:\n  {problems}", 400, kind="Bad Request")


def schema_problem(schema: str | None) -> str | None:
    """Why the grammar can't be compiled; the engine looks no deeper than the JSON."""
    try:
        json.loads(schema or "{}")
    except ValueError as error:
        return f"Failed to compile json grammar: {error}"
    return None
