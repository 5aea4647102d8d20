"""The client of one SGLang server: its native routes, token ids in and out.

It never retries, since Temporal owns retries; `refusal` alone decides what may be tried again. Wire: SGLang 0.5.23,
`entrypoints/http_server.py` and `managers/io_struct.py`.
"""

import json
import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, cast

import httpx
from pydantic import ValidationError

from orchestrator.engine.chat import CHAT_ROUTE, ChatPrompt, chat_body, feed_chat, function_of
from orchestrator.errors import (
    EngineError,
    EngineMisreported,
    EngineOverloaded,
    EngineRejected,
    EngineUnavailable,
    ModelMismatch,
)
from orchestrator.messages import ToolCall, ToolSpec
from orchestrator.steps import Sampling
from orchestrator.usage import EngineMoments, Timings, Usage

__all__ = ["EngineRequest", "Generation", "SGLang", "ServerInfo", "moments_of", "refusal"]

RETRYABLE_CODES = frozenset({408, 409, 429})

MOST_TOKENS = 10**9
"""Of one request; no model takes or makes more, and what costs more than 64 bits can hold stays out of the ledger."""

CANDIDATES = 20
"""Of each token, for its confidence (DeepConf, arXiv 2508.15260, appendix)."""

MEASURED_INTERVAL = 16
"""Tokens from one chunk of a measured answer to the next: each chunk has the candidates of all tokens before it."""

NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


def refusal(url: str, code: int, problem: str, retry_after: float | None = None) -> EngineError:
    """What an HTTP error of the engine means, and by its class whether another attempt may do better."""
    if code in RETRYABLE_CODES or code >= 500:
        return EngineOverloaded(url, code, problem, retry_after)
    return EngineRejected(url, code, problem)


@dataclass(frozen=True, kw_only=True)
class ServerInfo:
    """What a server says of itself."""

    model: str
    tool_call_parser: str | None
    reasoning_parser: str | None


@dataclass(frozen=True, kw_only=True)
class EngineRequest:
    """One request to generate."""

    rid: str
    """Of fixed length: the engine aborts every request whose id starts with the one given."""
    ids: Sequence[int]
    """Token ids of the whole prompt."""
    chat: ChatPrompt | None = None
    """The prompt in their place, where it can't be sent as tokens."""
    sampling: Sampling
    output_schema: Mapping[str, Any] | None = None
    cache_salt: str | None = None
    """Keeps one tenant's prefixes from another's."""
    measure: bool = False
    """Whether to say how likely each token was, and how sure the model."""
    labels: Sequence[int] = ()
    """Tokens whose probability to come first is wanted."""
    stops: Sequence[int] = ()
    """Tokens that end the answer, beside those of the model."""
    warm: bool = False
    """Whether only to compute the prompt, so that it is cached."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """The trace that the request belongs to."""


@dataclass(kw_only=True)
class Generation:
    """What a request has made so far; grows with each chunk of the stream."""

    ids: list[int] = field(default_factory=list[int])
    text: str = ""
    usage: Usage = field(default_factory=Usage)
    timings: Timings = field(default_factory=Timings)
    moments: EngineMoments = field(default_factory=EngineMoments)
    likelihoods: list[float] = field(default_factory=list[float])
    """Logarithm of each token's probability; only where measured."""
    confidences: list[float] = field(default_factory=list[float])
    """Of each token, the mean of `-log p` over its likeliest candidates; only where measured."""
    labels: list[float] = field(default_factory=list[float])
    """Probability of each label to come first; only where asked for."""
    calls: list[ToolCall] = field(default_factory=list[ToolCall])
    """Tool calls that the server itself has read out of the answer: only of a prompt that wasn't sent as tokens. Nor
    has the answer to one any `ids`."""
    finish: Literal["stop", "length", "abort"] | None = None
    """`None` until the last chunk."""

    def feed(self, chunk: Mapping[str, Any]) -> None:
        """Takes in one more chunk, whether the server sends whole outputs or only what is new.

        Raises:
            ValueError: its figures can't be.
        """
        meta: Mapping[str, Any] = chunk["meta_info"]
        sent: Sequence[int] = chunk.get("output_ids") or ()
        made = int(meta.get("completion_tokens") or len(self.ids))
        missing = made - len(self.ids)
        if missing > 0:
            self.ids.extend(sent[-missing:])
        text: str = chunk.get("text") or ""
        if len(sent) >= made:  # the whole output, whose text is shorter than before where a stop string was cut off
            self.text = text
        elif missing > 0:
            self.text += text
        else:  # an abort in a stream of what is new has the whole text again
            self.text = text or self.text
        known = self.usage
        self.count(
            Usage(
                prompt=meta.get("prompt_tokens", known.prompt),
                cached=meta.get("cached_tokens", known.cached),
                output=made,
                reasoning=meta.get("reasoning_tokens", known.reasoning),
            )
        )
        self.likelihoods += [token[0] for token in _new(meta, "output_token_logprobs", len(self.likelihoods), made)]
        self.confidences += [
            -sum(candidate[0] for candidate in token) / len(token)
            for token in _new(meta, "output_top_logprobs", len(self.confidences), made)
            if token
        ]
        if not self.labels and (first := meta.get("output_token_ids_logprobs")):
            self.labels = [math.exp(label[0]) for label in first[0]]
        self.timings = _timings(meta, self.timings)
        self.moments = moments_of(meta, self.moments)
        finish: Mapping[str, Any] = meta.get("finish_reason") or {}
        self.finish = finish.get("type")

    def count(self, usage: Usage) -> None:
        """Takes over what the server says that it has used so far.

        Raises:
            ValueError: no request uses as much.
        """
        if max(usage.prompt or 0, usage.output or 0) > MOST_TOKENS:
            raise ValueError(f"{usage.prompt or 0:,} prompt and {usage.output or 0:,} output tokens")
        self.usage = usage


def _new(meta: Mapping[str, Any], name: str, known: int, made: int) -> Sequence[Any]:
    """What a chunk tells of tokens that nothing was known of, whether it tells of all tokens or only of the new."""
    told: Sequence[Any] = meta.get(name) or ()
    missing = made - known
    return told[-missing:] if missing > 0 else ()


def _timings(meta: Mapping[str, Any], known: Timings) -> Timings:
    queue, entry = meta.get("queue_time"), meta.get("forward_entry_time")
    prefilled, finished = meta.get("prefill_finished_time"), meta.get("request_finished_ts")
    return Timings(
        queue=known.queue if queue is None else timedelta(seconds=max(0.0, queue)),
        prefill=known.prefill if not (entry and prefilled) else timedelta(seconds=max(0.0, prefilled - entry)),
        decode=known.decode if not (prefilled and finished) else timedelta(seconds=max(0.0, finished - prefilled)),
    )


def moments_of(meta: Mapping[str, Any], known: EngineMoments = EngineMoments()) -> EngineMoments:  # noqa: B008
    """When a request's stages began and ended, out of its `meta_info`; what it doesn't say stays as it was known."""
    entered, prefilled = meta.get("forward_entry_time"), meta.get("prefill_finished_time")
    finished = meta.get("request_finished_ts")
    return EngineMoments(
        entered=_us(entered) or known.entered,
        prefilled=_us(prefilled) or known.prefilled,
        finished=_us(finished) or known.finished,
    )


def _us(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1_000_000)


class SGLang:
    """One server. Safe to share between tasks."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._sees_images: bool | None = None
        self.url = str(http.base_url).rstrip("/")

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, *, timeout: timedelta = timedelta(minutes=10)) -> "AsyncGenerator[SGLang]":
        """Connects lazily. `timeout` bounds the silence between two chunks, not a whole answer."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        timeouts = httpx.Timeout(timeout.total_seconds(), connect=5.0)
        async with httpx.AsyncClient(base_url=url, timeout=timeouts, limits=limits, trust_env=False) as http:
            yield cls(http)

    async def describe(self, *, wanted: str | None = None) -> ServerInfo:
        """What the server serves.

        Raises:
            EngineUnavailable: nobody answers.
            ModelMismatch: it serves another model than `wanted`.
        """
        info = await self._json("GET", "/server_info")
        model = info.get("served_model_name") or info["model_path"]
        if wanted is not None and model != wanted:
            raise ModelMismatch(self.url, served=model, wanted=wanted)
        return ServerInfo(
            model=model,
            tool_call_parser=info.get("tool_call_parser"),
            reasoning_parser=info.get("reasoning_parser"),
        )

    async def sees_images(self) -> bool:
        """Whether its model takes pictures. It is taken to, where the server doesn't say."""
        if self._sees_images is None:
            info: Mapping[str, Any] = await self._json("GET", "/model_info")
            self._sees_images = info.get("has_image_understanding") is not False
        return self._sees_images

    async def render(
        self, messages: Sequence[Mapping[str, Any]], *, tools: Sequence[ToolSpec] = (), open_reply: bool
    ) -> list[int]:
        """Token ids of a conversation under the model's own chat template.

        Args:
            messages: in the shape of the OpenAI API.
            open_reply: whether the ids end where the assistant's next reply begins.
        """
        body = {"messages": messages, "add_generation_prompt": open_reply}
        if tools:
            body["tools"] = [function_of(tool) for tool in tools]
        return (await self._json("POST", "/v1/tokenize", body))["tokens"]

    async def tokenize(self, text: str) -> list[int]:
        """Token ids of a text that stands in the middle of a conversation."""
        body = {"prompt": text, "add_special_tokens": False}
        return (await self._json("POST", "/v1/tokenize", body))["tokens"]

    async def generate(self, request: EngineRequest) -> AsyncGenerator[Generation]:
        """The answer as it grows; the last value has a `finish`.

        Raises:
            EngineError: refused, overloaded or unreachable; or the stream broke off, or said what can't be.
        """
        generation = Generation()
        path, body = "/generate", _body(request)
        if request.chat is not None:
            path, body = CHAT_ROUTE, chat_body(request, request.chat)
        try:
            async with self._http.stream("POST", path, json=body, headers=request.headers) as response:
                if response.is_error:
                    await response.aread()
                    raise self._refusal(response)
                async for line in response.aiter_lines():
                    if not line.startswith("data: {"):
                        continue
                    counted, refused = self._take(line, request, generation)
                    if counted:
                        yield generation
                    if refused is not None:
                        raise refused
        except httpx.TransportError as error:
            reached = not isinstance(error, NOT_SENT)
            raise EngineUnavailable(self.url, _words(error), reached=reached) from error
        if generation.finish is None or generation.usage.output is None:
            raise EngineUnavailable(self.url, "the stream ended in mid-answer", reached=True)

    def _take(self, line: str, request: EngineRequest, generation: Generation) -> tuple[bool, EngineError | None]:
        """Feeds a line of the stream to the answer; whether it said something of it, and whether it refuses to go on.

        A refusal that counts tokens comes after the engine has computed them.
        """
        try:
            chunk = json.loads(line.removeprefix("data: "))
            refused = self._refused(chunk)
            counted = refused is None or "prompt_tokens" in chunk.get("meta_info", {})
            if counted and request.chat is None:
                generation.feed(chunk)
            elif counted:
                feed_chat(generation, chunk)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise EngineMisreported(self.url, _problem(error)) from error
        return counted, refused

    def _refused(self, chunk: Mapping[str, Any]) -> EngineError | None:
        """What a stream that was accepted says afterwards: a refusal, or a full queue."""
        if error := chunk.get("error"):
            return refusal(self.url, int(error.get("code") or 400), str(error.get("message")))
        meta: Mapping[str, Any] = chunk.get("meta_info") or {}
        finish: Mapping[str, Any] = meta.get("finish_reason") or {}
        if finish.get("type") == "abort" and (code := finish.get("status_code")):
            return refusal(self.url, int(code), str(finish.get("message")))
        return None

    async def abort(self, rid: str) -> None:
        """Asks the server to end a request. The request's own stream confirms it, with the tokens made until then."""
        await self._request("POST", "/abort_request", {"rid": rid})

    async def tool_calls(
        self, text: str, tools: Sequence[ToolSpec], *, parser: str
    ) -> tuple[str, tuple[ToolCall, ...]]:
        """What is said and what is called in an answer, by the server's own parser."""
        body = {"text": text, "tools": [function_of(tool) for tool in tools], "tool_call_parser": parser}
        parsed = await self._json("POST", "/parse_function_call", body)
        calls = tuple(
            ToolCall(id=f"call_{index}", name=call["name"] or "", arguments=call["parameters"])
            for index, call in enumerate(parsed["calls"])
        )
        return parsed["normal_text"], calls

    async def reasoning(self, text: str, *, parser: str) -> tuple[str | None, str]:
        """The reasoning and the rest of an answer, by the server's own parser."""
        body = {"text": text, "reasoning_parser": parser}
        parsed = await self._json("POST", "/separate_reasoning", body)
        return parsed.get("reasoning_text"), parsed["text"]

    async def _json(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return (await self._request(method, path, body)).json()

    async def _request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        try:
            response = await self._http.request(method, path, json=body)
        except httpx.TransportError as error:
            raise EngineUnavailable(self.url, _words(error)) from error
        if response.is_error:
            raise self._refusal(response)
        return response

    def _refusal(self, response: httpx.Response) -> EngineError:
        try:
            told: dict[str, Any] = response.json()
            error: Any = told.get("error", told)
            problem = str(cast("dict[str, Any]", error).get("message", error) if isinstance(error, dict) else error)
        except (ValueError, AttributeError):
            problem = response.text[:200] or response.reason_phrase
        after = response.headers.get("retry-after", "")
        return refusal(self.url, response.status_code, problem, float(after) if after.isdigit() else None)


def _body(request: EngineRequest) -> Mapping[str, Any]:
    sampling: dict[str, Any] = {
        "max_new_tokens": 0 if request.warm else request.sampling.max_tokens,
        "temperature": request.sampling.temperature,
        "top_p": request.sampling.top_p,
    }
    if request.sampling.stop:
        sampling["stop"] = request.sampling.stop
    if request.stops:
        sampling["stop_token_ids"] = list(request.stops)
    if request.sampling.seed is not None:
        sampling["sampling_seed"] = request.sampling.seed
    if request.output_schema is not None:
        sampling["json_schema"] = json.dumps(request.output_schema)
    body: dict[str, Any] = {
        "rid": request.rid,
        "input_ids": list(request.ids),
        "sampling_params": sampling,
        "stream": True,
    }
    if request.cache_salt is not None:
        body["cache_salt"] = request.cache_salt
    if request.measure or request.labels:
        body |= {"return_logprob": True, "logprob_start_len": -1}
    if request.measure:
        body["top_logprobs_num"] = CANDIDATES
        sampling["stream_interval"] = MEASURED_INTERVAL
    if request.labels:
        body["token_ids_logprob"] = list(request.labels)
    return body


def _problem(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(each["msg"].removeprefix("Value error, ") for each in error.errors())
    return f"a chunk without {error}" if isinstance(error, KeyError) else str(error)


def _words(error: httpx.TransportError) -> str:
    return str(error) or type(error).__name__
