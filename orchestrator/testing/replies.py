"""What a script says: the replies, and how a JSON file spells them.

Values only, no I/O. `Say` and `CallTool` are what a model writes; `Fail`, `Break` and `Hang` are what goes wrong.
"""

import json as json_module
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from orchestrator.errors import ConfigurationError, DefinitionError
from orchestrator.testing.chat import tool_call_text
from orchestrator.testing.requests import ScriptedRequest

__all__ = ["Break", "CallTool", "Fail", "Hang", "Reply", "Say", "Script", "replies_from_json"]


@dataclass(frozen=True, init=False)
class CallTool:
    """The model calls one tool: `CallTool("calculator", expression="2+2")`. Several, or with text: `Say(calls=)`."""

    name: str
    arguments: dict[str, JsonValue]

    def __init__(self, name: str, /, **arguments: JsonValue) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "arguments", arguments)

    def __repr__(self) -> str:
        return f"CallTool({', '.join([repr(self.name), *(f'{k}={v!r}' for k, v in self.arguments.items())])})"


@dataclass(frozen=True)
class Say:
    """The model writes text, ends its turn, and is done."""

    text: str = ""
    _: KW_ONLY
    json: JsonValue = None
    """Written as the text, for a reply under a JSON schema. The engine doesn't hold it against the schema."""
    reasoning: str | None = None
    """Written before the text, as `<think>`."""
    calls: tuple[CallTool, ...] = ()
    """Written after the text."""
    delay: timedelta = timedelta(0)
    """In the queue, before the prompt is computed."""
    likelihood: float = 0.5
    """Probability of each token, where the request asks for it."""
    confidence: float | tuple[float, ...] = 10.0
    """What `-log p` is on average over each token's likeliest candidates, where the request asks for them; of several,
    one for each token, and the last for the rest."""
    probabilities: Mapping[str, float] = field(default_factory=dict[str, float])
    """Of the texts of tokens to come first, where the request asks for theirs; of others it is next to none."""
    tokens_per_second: float | None = None
    """By default the reply comes at once, in up to about 64 chunks; with a rate, in a chunk for each token."""
    hold_after_tokens: int | None = None
    """Stop after so many tokens until the test calls `release()`; 0 holds in the queue. Of a shorter reply, before its
    last token."""

    def __post_init__(self) -> None:
        if self.text and self.json is not None:
            raise DefinitionError("Say", problem="it has both text and json", remedy="Give one of them")
        if self.tokens_per_second is not None and self.tokens_per_second <= 0:
            raise DefinitionError(
                "Say", problem=f"tokens_per_second is {self.tokens_per_second}", remedy="Give a rate above 0, or Hang()"
            )

    def confidence_of(self, place: int) -> float:
        """Of a token of the reply, from 0 on."""
        if isinstance(self.confidence, float | int):
            return self.confidence
        return self.confidence[min(place, len(self.confidence) - 1)]

    @property
    def written(self) -> str:
        """All that the model writes."""
        reasoning = "" if self.reasoning is None else f"<think>\n{self.reasoning}\n</think>\n\n"
        text = self.text if self.json is None else json_module.dumps(self.json, ensure_ascii=False)
        return reasoning + text + "".join(tool_call_text(call.name, dict(call.arguments)) for call in self.calls)


@dataclass(frozen=True, kw_only=True)
class Fail:
    """The engine refuses the request, before it computes anything."""

    status: int = 503
    message: str = "the script says so"
    retry_after: float | None = None
    """Seconds, for the header `Retry-After`. SGLang itself never sends it; proxies in front of it do."""
    in_stream: bool = False
    """As SGLang refuses a streamed request: status 200, and the error in the first chunk. Without it, as a proxy does:
    by the HTTP status. A request that doesn't stream always gets the HTTP status."""

    def __post_init__(self) -> None:
        if not 400 <= self.status < 600:
            raise DefinitionError(
                "Fail", problem=f"status {self.status} is no error", remedy="Give one from 400 to 599"
            )
        if self.in_stream and self.retry_after is not None:
            raise DefinitionError(
                "Fail", problem="an error inside a stream has no header Retry-After", remedy="Give one of the two"
            )


@dataclass(frozen=True, kw_only=True)
class Break:
    """The connection closes after so many tokens, in the middle of the reply. The tokens count as made."""

    after_tokens: int
    text: str | None = None
    """What the reply would have been; by default filler that is long enough."""

    @property
    def written(self) -> str:
        return "this will break " * (self.after_tokens // 4 + 1) if self.text is None else self.text


@dataclass(frozen=True)
class Hang:
    """The request stays in the queue until it is aborted, or the client goes away."""


Reply = Say | CallTool | Fail | Break | Hang

Script = Iterable[Reply] | Callable[[ScriptedRequest], Reply | Awaitable[Reply]]
"""Replies in the order in which requests come, or a function that answers each request.

A request for no tokens (`max_new_tokens` 0) needs no reply and takes none."""


class _JsonReply(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _JsonCall(_JsonReply):
    type: Literal["CallTool"] = "CallTool"
    name: str
    arguments: dict[str, JsonValue] = {}

    def reply(self) -> CallTool:
        return CallTool(self.name, **self.arguments)


class _JsonSay(_JsonReply):
    type: Literal["Say"]
    text: str = ""
    json_: Annotated[JsonValue, Field(alias="json")] = None
    reasoning: str | None = None
    calls: tuple[_JsonCall, ...] = ()
    delay: timedelta = timedelta(0)
    likelihood: float = 0.5
    confidence: float | tuple[float, ...] = 10.0
    probabilities: dict[str, float] = {}
    tokens_per_second: float | None = None
    hold_after_tokens: int | None = None

    def reply(self) -> Say:
        return Say(
            self.text,
            json=self.json_,
            reasoning=self.reasoning,
            calls=tuple(call.reply() for call in self.calls),
            delay=self.delay,
            likelihood=self.likelihood,
            confidence=self.confidence,
            probabilities=self.probabilities,
            tokens_per_second=self.tokens_per_second,
            hold_after_tokens=self.hold_after_tokens,
        )


class _JsonFail(_JsonReply):
    type: Literal["Fail"]
    status: int = 503
    message: str = "the script says so"
    retry_after: float | None = None
    in_stream: bool = False

    def reply(self) -> Fail:
        return Fail(status=self.status, message=self.message, retry_after=self.retry_after, in_stream=self.in_stream)


class _JsonBreak(_JsonReply):
    type: Literal["Break"]
    after_tokens: int
    text: str | None = None

    def reply(self) -> Break:
        return Break(after_tokens=self.after_tokens, text=self.text)


class _JsonHang(_JsonReply):
    type: Literal["Hang"]

    def reply(self) -> Hang:
        return Hang()


_REPLIES = TypeAdapter(
    list[Annotated[_JsonSay | _JsonCall | _JsonFail | _JsonBreak | _JsonHang, Field(discriminator="type")]]
)


def replies_from_json(text: str | bytes) -> list[Reply]:
    """Replies from a JSON array: `[{"type": "Say", "text": "hi"}, {"type": "Fail", "status": 429}]`.

    Fields are those of the classes, `delay` in seconds; `{"type": "CallTool", "name": ..., "arguments": {...}}`.

    Raises:
        ConfigurationError: it isn't such an array.
    """
    try:
        return [reply.reply() for reply in _REPLIES.validate_json(text)]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise ConfigurationError(
            f"the script is invalid at {where}: {first['msg']}",
            remedy='Write an array of replies, like [{"type": "Say", "text": "hi"}]',
        ) from error
