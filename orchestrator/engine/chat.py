"""Conversations that can't be sent as token ids, since there are pictures in them: SGLang's OpenAI chat route.

The server renders the conversation and reads tool calls out of the answer by its own template and parsers. It says how
many tokens that took, and neither which ones they were nor when it worked on them. Wire: SGLang 0.5.23,
`entrypoints/openai/protocol.py` and `serving_chat.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.messages import ToolCall, ToolSpec
from orchestrator.usage import Usage

if TYPE_CHECKING:
    from orchestrator.engine.sglang import EngineRequest, Generation

__all__ = ["CHAT_ROUTE", "ChatPrompt", "chat_body", "feed_chat", "function_of"]

CHAT_ROUTE = "/v1/chat/completions"


@dataclass(frozen=True, kw_only=True)
class ChatPrompt:
    """A prompt as messages."""

    messages: Sequence[Mapping[str, Any]]
    """In the shape of the OpenAI API."""
    tools: Sequence[ToolSpec]
    tokens: int
    """By estimate: how many a picture comes to, only the engine knows."""
    tool_choice: Literal["auto", "none"] = "auto"
    """With `none` the server leaves the tools out of its prompt."""


def chat_body(request: "EngineRequest", prompt: ChatPrompt) -> Mapping[str, Any]:
    """The request for an answer to it, as a stream that says with each chunk how many tokens were used so far."""
    sampling = request.sampling
    body: dict[str, Any] = {
        "rid": request.rid,
        "messages": prompt.messages,
        "max_completion_tokens": 1 if request.warm else sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "separate_reasoning": False,
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }
    if prompt.tools:
        body |= {"tools": [function_of(tool) for tool in prompt.tools], "tool_choice": prompt.tool_choice}
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if request.output_schema is not None:
        schema = {"name": "reply", "schema": request.output_schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if request.cache_salt is not None:
        body["cache_salt"] = request.cache_salt
    return body


def feed_chat(generation: "Generation", chunk: Mapping[str, Any]) -> None:
    """Takes one more chunk of the stream into an answer.

    Raises:
        ValueError: its figures can't be.
    """
    if usage := chunk.get("usage"):
        known = generation.usage
        details: Mapping[str, Any] = usage.get("prompt_tokens_details") or {}
        generation.count(
            Usage(
                prompt=usage["prompt_tokens"],
                cached=details.get("cached_tokens", known.cached),
                output=usage["completion_tokens"],
                reasoning=usage.get("reasoning_tokens", known.reasoning),
            )
        )
    for choice in chunk["choices"]:
        delta: Mapping[str, Any] = choice["delta"]
        generation.text += delta.get("content") or ""
        for call in delta.get("tool_calls") or ():
            _feed_call(generation.calls, call)
        if finish := choice.get("finish_reason"):
            generation.finish = "stop" if finish == "tool_calls" else finish


def _feed_call(calls: list[ToolCall], delta: Mapping[str, Any]) -> None:
    """A call comes with its name first, and its arguments in pieces."""
    function: Mapping[str, Any] = delta["function"]
    name, arguments = function.get("name") or "", function.get("arguments") or ""
    place = int(delta["index"])
    while len(calls) <= place:
        calls.append(ToolCall(id="", name="", arguments=""))
    known = calls[place]
    calls[place] = ToolCall(id="", name=known.name or name, arguments=known.arguments + arguments)


def function_of(tool: ToolSpec) -> dict[str, Any]:
    """A tool in the shape of the OpenAI API."""
    return {"type": "function", "function": tool.model_dump(mode="json")}
