"""SGLang's chat route, for conversations with pictures: the native answer of the engine in OpenAI's shapes.

Streams only, which is what the orchestrator asks for. Sources: `sglang/srt/entrypoints/openai/protocol.py`,
`serving_chat.py` and `sse_utils.py`; the contract tests hold both servers against each other.
"""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from time import time
from typing import Any, Literal, cast

from pydantic import BaseModel, JsonValue, ValidationError
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from orchestrator.testing import wire
from orchestrator.testing.chat import ChatMessage, is_object, parse_tool_calls, render
from orchestrator.testing.scheduler import Refusal, Scheduler
from orchestrator.testing.tokenizer import encode

__all__ = ["Completions"]

CALL = "<tool_call>\n"


class _StreamOptions(BaseModel):
    include_usage: bool = False
    continuous_usage_stats: bool = False


class _ResponseFormat(BaseModel):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, JsonValue] | None = None


class ChatBody(BaseModel):
    """One conversation. Unknown fields are passed over, as SGLang does."""

    messages: list[ChatMessage]
    model: str = "default"
    tools: list[dict[str, JsonValue]] | None = None
    tool_choice: str | None = None
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    response_format: _ResponseFormat | None = None
    stream: bool = False
    stream_options: _StreamOptions = _StreamOptions()
    rid: str | None = None
    cache_salt: str | None = None
    priority: int | None = None

    @property
    def images(self) -> tuple[str, ...]:
        """The URLs of its pictures."""
        return tuple(url for message in self.messages for url in message.images)

    @property
    def offered(self) -> list[dict[str, JsonValue]]:
        """The tools that its prompt shows."""
        return [] if self.tool_choice == "none" else self.tools or []

    def native(self) -> wire.GenerateBody:
        """What SGLang makes of it: the same request with a prompt in place of the conversation."""
        limit = self.max_completion_tokens or self.max_tokens
        schema = ((self.response_format and self.response_format.json_schema) or {}).get("schema")
        params: dict[str, JsonValue] = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "stop": cast("JsonValue", self.stop),
            "sampling_seed": self.seed,
            "max_new_tokens": limit,
            "json_schema": None if schema is None else json.dumps(schema),
        }
        return wire.GenerateBody(
            input_ids=encode(render(self.messages, self.offered, add_generation_prompt=True)),
            sampling_params={name: value for name, value in params.items() if value is not None},
            rid=self.rid,
            stream=True,
            cache_salt=self.cache_salt,
            priority=self.priority,
        )


class Completions:
    """Not a function: the reply needs the connection itself."""

    def __init__(self, scheduler: Scheduler, *, parses: bool, vision: bool) -> None:
        """Serves nothing yet.

        Args:
            parses: whether the engine has a parser of tool calls.
            vision: whether its model sees pictures.
        """
        self._scheduler = scheduler
        self._parses = parses
        self._vision = vision

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        content = await Request(scope, receive).body()
        try:
            body = ChatBody.model_validate_json(content)
        except ValidationError as error:
            await wire.invalid_body(error)(scope, receive, send)
            return
        if (problem := self._problem(body)) is not None:
            await wire.error_response(problem, 400, kind="BadRequestError")(scope, receive, send)
            return
        answer = _Answer(send, body, parses=self._parses and bool(body.offered))
        try:
            generation = self._scheduler.admit(body.native(), images=body.images)
        except Refusal as refusal:
            await refusal.response(scope, receive, answer.take)
        else:
            await generation.respond(scope, receive, answer.take)

    def _problem(self, body: ChatBody) -> str | None:
        if not body.messages:
            return "Messages cannot be empty."
        if body.images and not self._vision:
            return "Model only supports text input; received unsupported content type 'image_url'."
        if not all(is_object(arguments) for message in body.messages for arguments in message.arguments):
            return "Assistant tool call function.arguments must be valid JSON."
        if not body.stream:
            return "the scripted engine serves chat completions as streams only"
        return None


class _Answer:
    """Takes the native answer in place of the connection, and sends it on in the other shape."""

    def __init__(self, send: Send, body: ChatBody, *, parses: bool) -> None:
        self._send = send
        self._body = body
        self._parses = parses
        self._status = 200
        self._stream = wire.Stream(send)
        self._begun = self._refused = False
        self._said = 0
        """Characters of the text that were sent."""
        self._last: Mapping[str, Any] = {}

    async def take(self, message: Message) -> None:
        """A message of the ASGI protocol."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            return
        body: bytes = message.get("body", b"")
        if self._status >= HTTPStatus.BAD_REQUEST:
            await self._refuse(json.loads(body), self._status)
            return
        for event in filter(None, body.decode().split("\n\n")):
            data = event.removeprefix("data: ")
            if data == "[DONE]":
                await self._close()
            elif not self._refused:
                await self._chunk(json.loads(data))

    async def _refuse(self, native: Mapping[str, Any], status: int) -> None:
        """Before the stream begins, errors are answers of their own."""
        self._refused = True
        error: Mapping[str, Any] = native.get("error", native)
        text = error if isinstance(error, str) else str(error.get("message"))
        kind = str(native.get("type", "BadRequestError"))
        refusal = wire.error_response(text, status, kind=kind)
        start = {"type": "http.response.start", "status": status, "headers": refusal.raw_headers}
        await self._send(start)
        await self._send({"type": "http.response.body", "body": refusal.body})

    async def _chunk(self, native: Mapping[str, Any]) -> None:
        if error := native.get("error"):
            await self._refuse(error, error["code"])
            return
        self._last = meta = native["meta_info"]
        finish: Mapping[str, Any] = meta["finish_reason"] or {}
        if finish.get("type") == "abort" and (code := finish.get("status_code")):
            self._refused = True
            problem = {"object": "error", "message": finish["message"], "type": HTTPStatus(code).name}
            await self._stream.send({"error": {**problem, "param": None, "code": code}})
            return
        if not self._begun:
            self._begun = True
            await self._delta({"reasoning_content": None, "role": "assistant", "content": ""})
        await self._text(native["text"], whole=bool(finish))
        if finish:
            called = self._parses and CALL in native["text"] and finish["type"] == "stop"
            await self._stream.send(
                self._shape(
                    {"reasoning_content": None},
                    finish_reason="tool_calls" if called else finish["type"],
                    matched_stop=finish.get("matched"),
                )
            )

    async def _text(self, text: str, *, whole: bool) -> None:
        """What is new of the text; a tool call in it is sent once it is whole."""
        end = _calls_begin(text, whole=whole) if self._parses else len(text)
        if end > self._said:
            role = {"role": None} if self._parses else {}  # what its parser has passed on goes another way
            await self._delta({**role, "reasoning_content": None, "content": text[self._said : end]}, counted=True)
            self._said = end
        if whole and self._parses and end < len(text):
            names = [str(cast("Mapping[str, Any]", tool["function"])["name"]) for tool in self._body.offered]
            _, calls = parse_tool_calls(text, names)
            for place, call in enumerate(calls):
                await self._call(place, f"call_{self._last['id'][:8]}{place}", call.name, "")
                await self._call(place, None, None, call.parameters)

    async def _call(self, place: int, name_id: str | None, name: str | None, arguments: str) -> None:
        function = {"name": name, "arguments": arguments}
        call = {"id": name_id, "index": place, "type": "function", "function": function}
        delta = {"role": None, "content": None, "reasoning_content": None, "tool_calls": [call]}
        await self._delta(delta, counted=True)

    async def _delta(self, delta: Mapping[str, Any], *, counted: bool = False) -> None:
        usage = {"usage": self._usage()} if counted and self._counts else {}
        await self._stream.send({**self._shape(delta), **usage})

    @property
    def _counts(self) -> bool:
        options = self._body.stream_options
        return options.include_usage and options.continuous_usage_stats

    async def _close(self) -> None:
        if self._body.stream_options.include_usage and self._last:
            await self._stream.send({**self._chunk_of(()), "usage": self._usage()})
        if self._last:
            await self._stream.close()

    def _shape(self, delta: Mapping[str, Any], **ending: Any) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None, "matched_stop": None, **ending}
        return self._chunk_of([choice])

    def _chunk_of(self, choices: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._last["id"],
            "object": "chat.completion.chunk",
            "created": int(time()),
            "model": self._body.model,
            "choices": list(choices),
        }

    def _usage(self) -> dict[str, JsonValue]:
        prompt, output = self._last.get("prompt_tokens", 0), self._last.get("completion_tokens", 0)
        reasoning = self._last.get("reasoning_tokens", 0)
        return {
            "prompt_tokens": prompt,
            "total_tokens": prompt + output,
            "completion_tokens": output,
            "prompt_tokens_details": {"cached_tokens": self._last.get("cached_tokens", 0)},
            "reasoning_tokens": reasoning,
            "completion_tokens_details": {"reasoning_tokens": reasoning} if reasoning else None,
        }


def _calls_begin(text: str, *, whole: bool) -> int:
    """How much of the text is said, as against called; while it grows, what may become a call isn't said yet."""
    place = text.find(CALL)
    if place >= 0:
        return place
    if whole:
        return len(text)
    return next((len(text) - n for n in range(len(CALL) - 1, 0, -1) if text.endswith(CALL[:n])), len(text))
