"""Messages in the shape of the OpenAI API, which chat templates are written for."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.images import Image
from orchestrator.messages import (
    AssistantMessage,
    Excerpt,
    Message,
    SummaryMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from orchestrator.transcripts import TranscriptStore

__all__ = ["Wiring"]


class Wiring:
    """Writes out what messages only refer to."""

    def __init__(self, transcripts: TranscriptStore) -> None:
        self._transcripts = transcripts

    async def texts(self, tenant: str, said: Sequence[Message]) -> list[Mapping[str, Any]]:
        """The messages, with a mark where a picture is.

        A summary and the question after it are one message: many templates refuse two of one role.
        """
        wired: list[Mapping[str, Any]] = []
        for place, message in enumerate(said):
            if place and isinstance(said[place - 1], SummaryMessage) and isinstance(message, UserMessage):
                wired[-1] = {"role": "user", "content": f"{wired[-1]['content']}\n\n{message.text}"}
            else:
                wired.append(await self._message(tenant, message))
        return wired

    async def pictures(self, tenant: str, said: Sequence[Message]) -> list[Mapping[str, Any]]:
        """The messages with their pictures.

        Raises:
            UnknownName: the tenant has no such picture.
        """
        wired: list[Mapping[str, Any]] = []
        for place, message in enumerate(said):
            one = await self._message(tenant, message)
            if isinstance(message, UserMessage) and message.images:
                one = {"role": "user", "content": await self._parts(tenant, message)}
            if isinstance(message, AssistantMessage) and message.tool_calls:
                one = {**one, "tool_calls": [_call(call, readable=True) for call in message.tool_calls]}
            if place and isinstance(said[place - 1], SummaryMessage) and isinstance(message, UserMessage):
                summary, content = wired.pop()["content"], one["content"]
                parts = [_text(content)] if isinstance(content, str) else content
                one = {"role": "user", "content": [_text(summary), *parts]}
            wired.append(one)
        return wired

    async def _message(self, tenant: str, message: Message) -> Mapping[str, Any]:
        match message:
            case ToolMessage():
                content = message.content
                text = content if isinstance(content, str) else await self._transcripts.text(content, tenant)
                text = content.of(text) if isinstance(content, Excerpt) else text
                return {"role": "tool", "tool_call_id": message.call_id, "name": message.name, "content": text}
            case AssistantMessage() if message.tool_calls:
                calls = [_call(call) for call in message.tool_calls]
                return {"role": "assistant", "content": message.content, "tool_calls": calls}
            case UserMessage():
                return {"role": "user", "content": message.text}
            case SummaryMessage():
                return {"role": "user", "content": message.content}
            case _:
                return {"role": message.role, "content": message.content}

    async def _parts(self, tenant: str, message: UserMessage) -> list[Mapping[str, Any]]:
        assert not isinstance(message.content, str)
        return [
            _text(part.text)
            if isinstance(part, TextPart)
            else {"type": "image_url", "image_url": {"url": await self._url(tenant, part.image)}}
            for part in message.content
        ]

    async def _url(self, tenant: str, image: Image) -> str:
        if image.url is not None:
            return image.url
        data = await self._transcripts.image(image, tenant)
        return f"data:{image.media_type};base64,{base64.b64encode(data).decode()}"


def _text(text: str) -> Mapping[str, Any]:
    return {"type": "text", "text": text}


def _call(call: ToolCall, *, readable: bool = False) -> Mapping[str, Any]:
    """A call as it was made.

    Args:
        readable: whether arguments that are no JSON object are put into one: the chat route takes no others.
    """
    arguments = call.arguments
    if readable and not _is_object(arguments):
        arguments = json.dumps({"unreadable": arguments})
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
