"""The scripted engine's HTTP endpoints; SGLang's are in `sglang/srt/entrypoints/http_server.py`."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from time import time
from typing import TypeVar

from pydantic import BaseModel, JsonValue, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from orchestrator.testing import tokenizer, wire
from orchestrator.testing.chat import (
    REASONING_PARSERS,
    TOOL_CALL_PARSERS,
    parse_tool_calls,
    render,
    separate_reasoning,
)
from orchestrator.testing.completions import Completions
from orchestrator.testing.metrics import decode_moments, exposition, prefill_microseconds
from orchestrator.testing.scheduler import Refusal, Scheduler
from orchestrator.testing.wire import JsonResponse

__all__ = ["Endpoints"]

MAX_RUNNING = 1024
"""What `/server_info` and `/v1/loads` say; the engine never queues for want of room."""


class Endpoints:
    """One engine's answers."""

    def __init__(self, scheduler: Scheduler, *, model: str, tool_call_parser: str | None, vision: bool) -> None:
        self._scheduler = scheduler
        self._vision = vision
        self._model = model
        self._tool_call_parser = tool_call_parser
        self._started = int(time())

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/generate", _Generate(self._scheduler), methods=["POST", "PUT"]),
                Route("/v1/chat/completions", self._completions(), methods=["POST"]),
                Route("/v1/tokenize", _parsed(wire.TokenizeBody, self._tokenize), methods=["POST"]),
                Route("/v1/detokenize", _parsed(wire.DetokenizeBody, self._detokenize), methods=["POST"]),
                Route("/parse_function_call", _parsed(wire.ParseBody, self._parse), methods=["POST"]),
                Route("/separate_reasoning", _parsed(wire.SeparateBody, self._separate), methods=["POST"]),
                Route("/abort_request", _parsed(wire.AbortBody, self._abort), methods=["POST"]),
                Route("/close_session", _parsed(wire.CloseSessionBody, self._close_session), methods=["GET", "POST"]),
                Route("/flush_cache", self._flush, methods=["GET", "POST"]),
                Route("/health", self._health),
                Route("/health_generate", self._health),
                Route("/ready", self._health),
                Route("/server_info", self._server_info),
                Route("/model_info", self._model_info),
                Route("/v1/models", self._models),
                Route("/v1/loads", self._loads),
                Route("/metrics", self._metrics),
                Route("/scripted/served", self._served),
            ],
            exception_handlers={404: _not_found},
        )

    def _completions(self) -> Completions:
        return Completions(self._scheduler, parses=self._tool_call_parser is not None, vision=self._vision)

    async def _tokenize(self, body: wire.TokenizeBody) -> Response:
        if (body.prompt is None) == (body.messages is None):
            return wire.error_response(
                "1 validation error:\n  Exactly one of 'prompt' or 'messages' must be provided.",
                400,
                kind="Bad Request",
            )
        limit = self._scheduler.context_length
        if isinstance(body.prompt, list):
            each = [tokenizer.encode(prompt) for prompt in body.prompt]
            return JsonResponse({"tokens": each, "count": [len(ids) for ids in each], "max_model_len": limit})
        text = body.prompt
        if text is None:
            # Left out, messages are rendered as for a chat completion.
            generation = body.add_generation_prompt is not False
            text = render(body.messages or [], body.tools, add_generation_prompt=generation)
        ids = tokenizer.encode(text)
        return JsonResponse({"tokens": ids, "count": len(ids), "max_model_len": limit})

    async def _detokenize(self, body: wire.DetokenizeBody) -> Response:
        texts: list[str] = []
        several = False
        for entry in body.tokens:
            if isinstance(entry, list):
                several = True
                texts.append(tokenizer.decode(entry, skip_special_tokens=body.skip_special_tokens))
        if several:
            return JsonResponse({"text": texts})
        ids = [entry for entry in body.tokens if isinstance(entry, int)]
        return JsonResponse({"text": tokenizer.decode(ids, skip_special_tokens=body.skip_special_tokens)})

    async def _parse(self, body: wire.ParseBody) -> Response:
        if body.tool_call_parser not in TOOL_CALL_PARSERS:
            return _internal_error()
        text, calls = parse_tool_calls(body.text, [tool.function.name for tool in body.tools])
        return JsonResponse({"normal_text": text, "calls": [call.model_dump() for call in calls]})

    async def _separate(self, body: wire.SeparateBody) -> Response:
        if body.reasoning_parser not in REASONING_PARSERS:
            return _internal_error()
        begins_inside = REASONING_PARSERS[body.reasoning_parser]
        reasoning, text = separate_reasoning(body.text, begins_inside=begins_inside)
        return JsonResponse({"reasoning_text": reasoning, "text": text})

    async def _abort(self, body: wire.AbortBody) -> Response:
        self._scheduler.abort(body.rid, abort_all=body.abort_all)
        return Response()

    async def _close_session(self, body: wire.CloseSessionBody) -> Response:
        return Response()

    async def _flush(self, request: Request) -> Response:
        if self._scheduler.flush():
            return PlainTextResponse("Cache flushed.\n")
        return PlainTextResponse("Flush cache failed.\n", status_code=400)

    async def _health(self, request: Request) -> Response:
        self._scheduler.check_health()
        return Response()

    async def _server_info(self, request: Request) -> Response:
        limit = self._scheduler.context_length
        info: dict[str, JsonValue] = {
            "model_path": self._model,
            "tokenizer_path": self._model,
            "served_model_name": self._model,
            "context_length": limit,
            "max_total_num_tokens": limit * MAX_RUNNING,
            "max_req_input_len": limit - 6,
            "max_running_requests": MAX_RUNNING,
            "page_size": 1,
            "tool_call_parser": self._tool_call_parser,
            "reasoning_parser": self._scheduler.reasoning_parser,
            "enable_metrics": True,
            "enable_cache_report": True,
            "enable_priority_scheduling": True,
            "enable_session_radix_cache": True,
            "disable_radix_cache": False,
            "weight_version": "default",
            "tokenizer_metrics_allowed_custom_labels": ["tenant", "workflow"],
            "status": "ready",
            "version": "scripted",
            "internal_states": [],
        }
        return JsonResponse(info)

    async def _model_info(self, request: Request) -> Response:
        info: dict[str, JsonValue] = {
            "model_path": self._model,
            "served_model_name": self._model,
            "tokenizer_path": self._model,
            "is_generation": True,
            "preferred_sampling_params": None,
            "weight_version": "default",
            "load_format": "scripted",
            "reasoning_parser": self._scheduler.reasoning_parser,
            "tool_call_parser": self._tool_call_parser,
            "disaggregation_mode": "null",
            "has_image_understanding": self._vision,
            "has_audio_understanding": False,
            "model_type": "scripted",
            "architectures": ["Scripted"],
        }
        return JsonResponse(info)

    async def _models(self, request: Request) -> Response:
        card: dict[str, JsonValue] = {
            "id": self._model,
            "object": "model",
            "created": self._started,
            "owned_by": "scripted",
            "root": self._model,
            "parent": None,
            "max_model_len": self._scheduler.context_length,
        }
        return JsonResponse({"object": "list", "data": [card]})

    async def _loads(self, request: Request) -> Response:
        scheduler = self._scheduler
        served = scheduler.served
        uncached = served.prompt_tokens - served.cached_tokens
        load: dict[str, JsonValue] = {
            "timestamp": time(),
            "dp_rank": 0,
            "num_running_reqs": scheduler.running,
            "num_waiting_reqs": scheduler.waiting,
            "num_waiting_uncached_tokens": 0,
            "num_used_tokens": 0,
            "num_total_tokens": 0,
            "max_total_num_tokens": scheduler.context_length * MAX_RUNNING,
            "max_running_requests": MAX_RUNNING,
            "token_usage": 0.0,
            "gen_throughput": 0.0,
            "cache_hit_rate": served.cached_tokens / served.prompt_tokens if served.prompt_tokens else 0.0,
            "utilization": 0.0,
            "total_prefill_uncached_tokens": uncached,
            "total_prefill_busy_us": prefill_microseconds(scheduler),
            "decode_moments": decode_moments(scheduler),
        }
        answer: dict[str, JsonValue] = {
            "timestamp": datetime.now(UTC).isoformat(),
            "version": "scripted",
            "accelerator": None,
            "num_accelerators": 1,
            "loads": [load],
        }
        return JsonResponse(answer)

    async def _served(self, request: Request) -> Response:
        """What no SGLang server tells: the ground truth, for a test in another process."""
        records = [generation.record for generation in self._scheduler.generations]
        return JsonResponse(
            {
                "served": asdict(self._scheduler.served),
                "requests": [
                    {
                        "rid": record.rid,
                        "prompt_tokens": record.prompt_tokens,
                        "cached_tokens": record.cached_tokens,
                        "output_tokens": record.output_tokens,
                        "finish": record.finish,
                        "error": record.error,
                        "started": record.started.isoformat(),
                        "finished": None if record.finished is None else record.finished.isoformat(),
                    }
                    for record in records
                ],
            }
        )

    async def _metrics(self, request: Request) -> Response:
        return Response(
            exposition(self._scheduler, self._model),
            headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"},
        )


class _Generate:
    """Not a function: the reply needs the connection itself."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        content = await Request(scope, receive).body()
        try:
            generation = self._scheduler.admit(wire.GenerateBody.model_validate_json(content))
        except ValidationError as error:
            await wire.invalid_body(error)(scope, receive, send)
        except Refusal as refusal:
            await refusal.response(scope, receive, send)
        else:
            await generation.respond(scope, receive, send)


_Body = TypeVar("_Body", bound=BaseModel)


def _parsed(
    body_type: type[_Body], answer: Callable[[_Body], Awaitable[Response]]
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            body = body_type.model_validate_json(await request.body())
        except ValidationError as error:
            return wire.invalid_body(error)
        return await answer(body)

    return endpoint


def _internal_error() -> Response:
    """What SGLang answers to a parser that it doesn't know."""
    return PlainTextResponse("Internal Server Error", status_code=500)


async def _not_found(request: Request, error: Exception) -> Response:
    return JsonResponse({"detail": "Not Found"}, status_code=404)
