"""Chat text: messages to a ChatML prompt, and a reply back to tool calls and reasoning.

Imports the tokenizer's neighbours only, no I/O. The prompt has the structure of
`orchestrator/local/sglang_cpu/chat_template.jinja`; the parsers follow SGLang's `qwen25` tool-call detector and its
`qwen3` and `deepseek-r1` reasoning detectors (`sglang/srt/function_call/`, `sglang/srt/parser/reasoning_parser.py`).
"""

import json
import re
from collections.abc import Sequence
from typing import cast

from pydantic import BaseModel, JsonValue

__all__ = [
    "REASONING_PARSERS",
    "TOOL_CALL_PARSERS",
    "ChatMessage",
    "ParsedCall",
    "PromptMessage",
    "is_object",
    "messages_of",
    "parse_tool_calls",
    "render",
    "separate_reasoning",
    "tool_call_text",
]

DEFAULT_SYSTEM = "You are a scripted engine: every reply was written beforehand"
IMAGE = "[image]"
"""What a picture is in a prompt."""
TOOL_CALL_PARSERS = frozenset({"hermes", "qwen", "qwen25"})
REASONING_PARSERS = {"qwen3": False, "deepseek-r1": True}
"""Whether a reply begins inside the reasoning, even without `<think>`."""


class _ImageUrl(BaseModel):
    url: str


class _Part(BaseModel):
    text: str = ""
    image_url: _ImageUrl | None = None


class _Function(BaseModel):
    name: str
    arguments: JsonValue = "{}"


class _Call(BaseModel):
    function: _Function


class ChatMessage(BaseModel):
    """A message as OpenAI's chat API shapes it."""

    role: str
    content: str | list[_Part] | None = None
    tool_calls: list[_Call] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.text if part.image_url is None else IMAGE for part in self.content)
        return self.content or ""

    @property
    def images(self) -> tuple[str, ...]:
        """The URLs of its pictures."""
        parts = self.content if isinstance(self.content, list) else []
        return tuple(part.image_url.url for part in parts if part.image_url is not None)

    @property
    def arguments(self) -> tuple[JsonValue, ...]:
        """Of its tool calls."""
        return tuple(call.function.arguments for call in self.tool_calls or ())


def is_object(arguments: JsonValue) -> bool:
    """Whether a call's arguments are a JSON object, or its text."""
    try:
        return isinstance(json.loads(arguments) if isinstance(arguments, str) else arguments, dict)
    except ValueError:
        return False


class PromptMessage(BaseModel):
    """A message as it stands in a prompt; a tool's result has the role `tool`."""

    role: str
    text: str


class ParsedCall(BaseModel):
    tool_index: int
    name: str
    parameters: str
    """JSON text."""


def render(
    messages: Sequence[ChatMessage], tools: Sequence[dict[str, JsonValue]] | None, *, add_generation_prompt: bool
) -> str:
    system, rest = DEFAULT_SYSTEM, messages
    if messages and messages[0].role == "system":
        system, rest = messages[0].text, messages[1:]
    text = f"<|im_start|>system\n{system}"
    if tools:
        signatures = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
        text += (
            "\n\nYou may call one or more functions. Their signatures are within <tools></tools> tags:\n"
            f"<tools>\n{signatures}\n</tools>\n\n"
            "For each call return a JSON object with name and arguments within <tool_call></tool_call> tags:\n"
            '<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
        )
    text += "<|im_end|>\n" + "".join(map(_render_message, rest))
    return text + "<|im_start|>assistant\n" if add_generation_prompt else text


def _render_message(message: ChatMessage) -> str:
    if message.role == "tool":
        return f"<|im_start|>user\n<tool_response>\n{message.text}\n</tool_response><|im_end|>\n"
    calls = "".join(tool_call_text(call.function.name, call.function.arguments) for call in message.tool_calls or ())
    return f"<|im_start|>{message.role}\n{message.text}{calls}<|im_end|>\n"


def tool_call_text(name: str, arguments: JsonValue) -> str:
    """A tool call as the template writes it; JSON text is written anew, as the real server does."""
    if isinstance(arguments, str):
        try:
            arguments = cast("JsonValue", json.loads(arguments))
        except ValueError:
            return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'
    call = {"name": name, "arguments": arguments}
    return f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>"


_MESSAGE = re.compile(r"<\|im_start\|>(\w+)\n(.*?)(?:<\|im_end\|>|\Z)", re.DOTALL)
_RESULT = re.compile(r"<tool_response>\n(.*)\n</tool_response>", re.DOTALL)


def messages_of(prompt: str) -> tuple[PromptMessage, ...]:
    """The messages of a ChatML prompt, without the generation prompt; a prompt without ChatML is one user message."""
    found = [PromptMessage(role=role, text=text) for role, text in _MESSAGE.findall(prompt)]
    if not found:
        return (PromptMessage(role="user", text=prompt),)
    if prompt.endswith("<|im_start|>assistant\n"):
        del found[-1]
    return tuple(map(_as_tool_result, found))


def _as_tool_result(message: PromptMessage) -> PromptMessage:
    result = _RESULT.fullmatch(message.text) if message.role == "user" else None
    return PromptMessage(role="tool", text=result[1]) if result else message


_BLOCK = re.compile(r"<tool_call>\n(.*?)\n</tool_call>", re.DOTALL)


def parse_tool_calls(text: str, names: Sequence[str]) -> tuple[str, list[ParsedCall]]:
    """The text before the first call, and the calls; those that can't be read are dropped.

    A call of a tool that isn't in `names` has index -1, as with `SGLANG_FORWARD_UNKNOWN_TOOLS=1`.
    """
    start = text.find("<tool_call>\n")
    if start < 0:
        return text, []
    calls: list[ParsedCall] = []
    for block in _BLOCK.findall(text):
        try:
            found = cast("JsonValue", json.loads(block))
        except ValueError:
            continue
        for call in found if isinstance(found, list) else [found]:
            if isinstance(call, dict) and "name" in call:
                arguments = call.get("parameters") or call.get("arguments", {})
                name = str(call["name"])
                parameters = json.dumps(arguments, ensure_ascii=False)
                index = names.index(name) if name in names else -1
                calls.append(ParsedCall(tool_index=index, name=name, parameters=parameters))
    return text[:start].strip(), calls


def separate_reasoning(text: str, *, begins_inside: bool) -> tuple[str, str]:
    """The reasoning, and the rest of the reply."""
    if not (begins_inside or "<think>" in text):
        return "", text
    reasoning, _, rest = text.removeprefix("<think>").partition("</think>")
    return reasoning, rest
