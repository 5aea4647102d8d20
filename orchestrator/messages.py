"""Messages, and the hash chain that they form.

Pure; imports nothing that does I/O. A transcript is named by the hash of its last message:
`hash = H(parent, canonical message, tenant)`, so equal conversations of one tenant are one chain.
"""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

__all__ = [
    "AssistantMessage",
    "BlobRef",
    "Message",
    "SystemMessage",
    "ToolCall",
    "ToolMessage",
    "ToolSpec",
    "UserMessage",
    "chain_hash",
]


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


class SystemMessage(_Value):
    """The root of a chain: instructions, and the tools that every later prompt offers."""

    role: Literal["system"] = "system"
    content: str
    tools: tuple[ToolSpec, ...] = ()


class UserMessage(_Value):
    role: Literal["user"] = "user"
    content: str


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
    content: str | BlobRef


Message = Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


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
