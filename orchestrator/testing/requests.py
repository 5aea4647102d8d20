"""What the scripted engine was asked, and what it served: values that scripts and tests read.

Values only, no I/O.
"""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Literal

from pydantic import JsonValue

from orchestrator.testing.chat import PromptMessage, messages_of
from orchestrator.testing.tokenizer import decode

__all__ = ["Finish", "RequestRecord", "ScriptedRequest", "Served"]

Finish = Literal["stop", "length", "abort", "error", "broken", "disconnected"]
"""`error`: refused, by its own fault or by the script's. `broken`: the script closed the connection."""


@dataclass(frozen=True, kw_only=True)
class ScriptedRequest:
    """One `POST /generate`, or `/v1/chat/completions`, as a script's function gets it."""

    number: int
    """1 for the engine's first request."""
    rid: str
    packed_prompt: bytes = field(repr=False)
    """`prompt_ids`, four bytes each: a test may keep a hundred prompts of 200,000 tokens."""
    sampling_params: Mapping[str, JsonValue]
    """As they were sent."""
    stream: bool
    attempt: int
    """1 for the first request with this very prompt, 2 for the second, and so on."""
    priority: int
    cache_salt: str
    session_id: str | None
    labels: Mapping[str, str]
    """The request's `custom_labels`."""
    images: tuple[str, ...] = ()
    """URLs of the pictures of a conversation, in their order; those that were sent along are `data:` URLs."""

    @property
    def prompt_ids(self) -> list[int]:
        return array("I", self.packed_prompt).tolist()

    @property
    def prompt_tokens(self) -> int:
        return len(self.packed_prompt) // array("I").itemsize

    @cached_property
    def prompt(self) -> str:
        return decode(self.prompt_ids)

    @cached_property
    def messages(self) -> tuple[PromptMessage, ...]:
        """The prompt's messages, the system message first."""
        return messages_of(self.prompt)

    @property
    def last_message(self) -> str:
        """Text of the last message: of the user, or a tool's result without its tags."""
        return self.messages[-1].text if self.messages else ""

    @property
    def step(self) -> int:
        """How many replies of the assistant the prompt holds already: 0 for the first step of a chain."""
        return sum(message.role == "assistant" for message in self.messages)


@dataclass(frozen=True, kw_only=True)
class RequestRecord:
    """What became of one request; a snapshot, taken when `engine.requests` was read."""

    request: ScriptedRequest
    prompt_tokens: int
    """Computed or found in the cache; 0 of a request that never left the queue, or was refused."""
    cached_tokens: int
    output_ids: tuple[int, ...]
    """Made so far."""
    finish: Finish | None
    """None while it runs or waits."""
    error: str | None
    """Why it was refused."""
    started: datetime
    """When the request came."""
    finished: datetime | None

    @property
    def rid(self) -> str:
        return self.request.rid

    @property
    def prompt(self) -> str:
        return self.request.prompt

    @property
    def prompt_ids(self) -> list[int]:
        return self.request.prompt_ids

    @property
    def sampling_params(self) -> Mapping[str, JsonValue]:
        return self.request.sampling_params

    @property
    def output(self) -> str:
        return decode(self.output_ids, skip_special_tokens=True)

    @property
    def output_tokens(self) -> int:
        return len(self.output_ids)


@dataclass(frozen=True, kw_only=True)
class Served:
    """The ground truth: all that the engine computed, for requests that ended well and for those that didn't.

    A request that never left the queue isn't in it."""

    requests: int
    prompt_tokens: int
    """With the cached ones."""
    cached_tokens: int
    output_tokens: int
