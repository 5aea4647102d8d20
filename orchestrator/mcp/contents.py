"""What a server's answer to a call is to the model, which reads text, and to a workflow, which takes JSON."""

from collections.abc import Iterable
from dataclasses import dataclass

from mcp.types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)
from pydantic import JsonValue
from pydantic_core import to_json

__all__ = ["Answer", "answer_of"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer, read."""

    text: str
    """What the model reads; pictures and sounds are described."""
    value: JsonValue
    """The structured content where there is some, else the text."""
    failed: bool
    """Whether the tool says that what it was asked for failed."""


def answer_of(result: CallToolResult) -> Answer:
    """A server's answer, read.

    By the specification, a tool with structured content repeats it as text for models; where one doesn't, its JSON is
    the text.
    """
    structured: JsonValue = result.structured_content
    parts = [_described(block) for block in result.content]
    if structured is not None and not any(isinstance(block, TextContent) for block in result.content):
        parts.append(to_json(structured).decode())
    text = "\n".join(parts)
    return Answer(text=text, value=text if structured is None else structured, failed=result.is_error)


def _described(block: ContentBlock) -> str:
    match block:
        case TextContent():
            return block.text
        case ImageContent():
            return _in_words("image", block.mime_type, _size(block.data))
        case AudioContent():
            return _in_words("audio", block.mime_type, _size(block.data))
        case ResourceLink():
            return _in_words("resource", block.uri, block.title or block.name, block.description)
        case EmbeddedResource(resource=BlobResourceContents() as resource):
            return _in_words("resource", resource.uri, resource.mime_type, _size(resource.blob))
        case EmbeddedResource(resource=TextResourceContents() as resource):
            return resource.text
        case EmbeddedResource():
            raise AssertionError("a resource is text or a blob")


def _in_words(kind: str, *known: str | None) -> str:
    return f"[{kind}: {', '.join(_filled(known))}]"


def _filled(words: Iterable[str | None]) -> Iterable[str]:
    return (word for word in words if word)


def _size(base64: str) -> str:
    return f"{len(base64.rstrip('=')) * 3 // 4:,} bytes"
