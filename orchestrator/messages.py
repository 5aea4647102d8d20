"""Messages, and the hash chain that they form.

Pure; imports nothing that does I/O. A transcript is named by the hash of its last message:
`hash = H(parent, canonical message, tenant)`, so equal conversations of one tenant are one chain.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from orchestrator.errors import DefinitionError
from orchestrator.images import Image

__all__ = [
    "AssistantMessage",
    "BlobRef",
    "Excerpt",
    "ImagePart",
    "Message",
    "SummaryMessage",
    "SystemMessage",
    "TextPart",
    "ToolCall",
    "ToolMessage",
    "ToolSpec",
    "UserMessage",
    "chain_hash",
]

NAME_LENGTH = 8
"""Hex digits by which a model names a tool's result."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class ToolSpec(_Value):
    """A tool as the model sees it."""

    name: str
    description: str
    parameters: dict[str, JsonValue]
    """JSON Schema of the arguments."""


class ToolCall(_Value):
    """The model's wish to call a tool."""

    id: str
    name: str
    """Empty where the call couldn't be read."""
    arguments: str
    """JSON text, as the model wrote it; not yet validated."""


class BlobRef(_Value):
    """Text kept in the transcript store, so that it needn't travel through workflow history."""

    blob: str
    """SHA-256 of the text, in hex."""
    size: int
    """Bytes in UTF-8."""


class Excerpt(_Value):
    """A page of a tool's result that is longer than a conversation shows at once; the whole is in the store."""

    blob: str
    """SHA-256 of the whole text, in hex."""
    size: int
    """Bytes of the whole, in UTF-8."""
    offset: int = 0
    """The character that the page begins with."""
    shown: int
    """Characters of a page."""

    @property
    def name(self) -> str:
        """What the model calls the whole."""
        return self.blob[:NAME_LENGTH]

    def of(self, text: str) -> str:
        """The page as the model reads it; the whole text, where it is no longer than a page."""
        end = min(self.offset + self.shown, len(text))
        if self.offset == 0 and end == len(text):
            return text
        place = f"characters {self.offset:,} to {end:,} of {len(text):,} of result {self.name}"
        more = f"To read on, call read_more with result {self.name!r} and offset {end}."
        return f"{text[self.offset : end]}\n[{place}. {more if end < len(text) else 'This is its end.'}]"


class SystemMessage(_Value):
    """The root of a chain: instructions, and the tools that every later prompt offers."""

    role: Literal["system"] = "system"
    content: str
    tools: tuple[ToolSpec, ...] = ()


class SummaryMessage(_Value):
    """Stands for the older part of a conversation, which is kept as a chain of its own."""

    role: Literal["summary"] = "summary"
    content: str
    """As the model reads it, in the name of the user."""
    of: str
    """The hash of the last message that it stands for."""
    question: str = ""
    """The question that was being answered where the older part ends; empty if none was."""


class TextPart(_Value):
    type: Literal["text"] = "text"
    text: str


class ImagePart(_Value):
    type: Literal["image"] = "image"
    image: Image


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class UserMessage(_Value):
    role: Literal["user"] = "user"
    content: str | tuple[Part, ...]
    """Text alone stays a string, so that it is named as it always was."""

    @classmethod
    def of(cls, text: str, images: Sequence[Image] = ()) -> "UserMessage":
        """A text after pictures.

        Raises:
            DefinitionError: something among `images` is no `Image`.
        """
        if not images:
            return cls(content=text)
        try:
            parts = [ImagePart(image=image) for image in images]
            return cls(content=(*parts, TextPart(text=text)) if text else tuple(parts))
        except ValidationError as error:
            raise DefinitionError(
                "images",
                problem="something among them is no Image",
                remedy="ToolContext.put_image and POST /v1/images keep one, and say what names it.",
            ) from error

    @property
    def text(self) -> str:
        """Its words, with a mark where a picture is."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text if isinstance(part, TextPart) else "[image]" for part in self.content)

    @property
    def images(self) -> "tuple[Image, ...]":
        """Its pictures."""
        if isinstance(self.content, str):
            return ()
        return tuple(part.image for part in self.content if isinstance(part, ImagePart))


class AssistantMessage(_Value):
    role: Literal["assistant"] = "assistant"
    content: str
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()


class ToolMessage(_Value):
    """What a tool returned, or why it failed."""

    role: Literal["tool"] = "tool"
    call_id: str
    name: str
    content: str | BlobRef | Excerpt


Message = Annotated[
    SystemMessage | SummaryMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]


def chain_hash(parent: str | None, message: Message, tenant: str) -> str:
    """The chain's name once `message` is appended to `parent`; 64 hex digits.

    The tenant is hashed too, so that no tenant can name, or find cached, what another one said.
    """
    canonical = json.dumps(
        [parent, message.model_dump(mode="json"), tenant],
        ensure_ascii=False,
        separators=(",", ":"),
        sort_keys=True,
    )
    return hashlib.sha256(canonical.encode()).hexdigest()
