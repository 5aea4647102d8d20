"""What a step used and what it cost: values that add up.

Pure; imports nothing that does I/O.
"""

from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, model_validator

__all__ = ["EngineMoments", "Outcome", "Receipt", "Savings", "Timings", "Usage", "Usd", "usd_from_nano"]

Tokens = Annotated[int, Field(ge=0)]
Usd = Annotated[Decimal, PlainSerializer(lambda amount: f"{amount:f}", return_type=str, when_used="json")]
"""US dollars; a plain decimal number in JSON, as text, so that no reader makes a float of it."""


def usd_from_nano(nano: int) -> Decimal:
    """Integer nano-dollars, as the ledger keeps them, in exact dollars."""
    return Decimal(nano).scaleb(-9)


N = TypeVar("N", int, timedelta)


def _sum(a: N | None, b: N | None) -> N | None:
    return b if a is None else a if b is None else a + b


class Outcome(StrEnum):
    """What became of one paid attempt."""

    USED = "used"
    DISCARDED = "discarded"
    """It succeeded, and the run threw its result away: a branch that lost."""
    RETRIED = "retried"
    """It failed, or its result was lost, and another attempt followed."""
    CANCELLED = "cancelled"
    FAILED = "failed"
    ABANDONED = "abandoned"
    """Its worker died, and nobody took its place."""

    @property
    def is_waste(self) -> bool:
        """Whether the attempt was paid for and gave the run nothing."""
        return self is not Outcome.USED


class Usage(BaseModel):
    """Tokens of one or more engine calls. `None` means that the engine didn't report it, never zero."""

    model_config = ConfigDict(frozen=True)

    prompt: Tokens | None = None
    """All prompt tokens, cached ones included."""
    cached: Tokens | None = None
    """Prompt tokens taken from the prefix cache; at most `prompt`."""
    output: Tokens | None = None
    """Generated tokens, reasoning included."""
    reasoning: Tokens | None = None
    """Generated tokens that belong to the reasoning; at most `output`."""

    @model_validator(mode="after")
    def _subsets(self) -> Self:
        for part, whole in (("cached", "prompt"), ("reasoning", "output")):
            small, large = getattr(self, part), getattr(self, whole)
            if small is not None and small > (large or 0):
                raise ValueError(f"{part} tokens ({small}) exceed {whole} tokens ({large})")
        return self

    @property
    def uncached(self) -> int | None:
        """Prompt tokens that were prefilled; unknown cached tokens count as prefilled."""
        return None if self.prompt is None else self.prompt - (self.cached or 0)

    @property
    def total(self) -> int:
        """Prompt and output tokens known."""
        return (self.prompt or 0) + (self.output or 0)

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            prompt=_sum(self.prompt, other.prompt),
            cached=_sum(self.cached, other.cached),
            output=_sum(self.output, other.output),
            reasoning=_sum(self.reasoning, other.reasoning),
        )


class Timings(BaseModel):
    """Where the time of one or more engine calls went. `None` means that the engine didn't report it."""

    model_config = ConfigDict(frozen=True)

    queue: timedelta | None = None
    """Waiting inside the engine, before the prefill."""
    prefill: timedelta | None = None
    decode: timedelta | None = None

    @property
    def engine(self) -> timedelta | None:
        """Prefill and decode together."""
        return _sum(self.prefill, self.decode)

    def __add__(self, other: "Timings") -> "Timings":
        return Timings(
            queue=_sum(self.queue, other.queue),
            prefill=_sum(self.prefill, other.prefill),
            decode=_sum(self.decode, other.decode),
        )


class EngineMoments(BaseModel):
    """When one engine call's stages began and ended: Unix time in microseconds, by the engine's own clock."""

    model_config = ConfigDict(frozen=True)

    entered: int | None = None
    """The prefill began."""
    prefilled: int | None = None
    finished: int | None = None


class Savings(BaseModel):
    """What steps saved that were answered by a kept result in place of an engine or a tool. In no cost and no usage."""

    model_config = ConfigDict(frozen=True)

    results: int = 0
    """Kept results that were handed out again."""
    usd: Usd = Decimal(0)
    """What they cost when they were made, exact to the nano-dollar."""
    tokens: Tokens = 0
    """Prompt and output tokens that they took then."""

    def __add__(self, other: "Savings") -> "Savings":
        return Savings(
            results=self.results + other.results, usd=self.usd + other.usd, tokens=self.tokens + other.tokens
        )


class Receipt(BaseModel):
    """What one step, or a whole run, used and cost; failed and retried attempts included."""

    model_config = ConfigDict(frozen=True)

    usage: Usage = Usage()
    timings: Timings = Timings()
    cost: Usd = Decimal(0)
    """US dollars, exact to the nano-dollar, waste included."""
    waste: Usd = Decimal(0)
    """The part of `cost` that bought nothing: retried, cancelled, discarded and failed attempts."""
    gpu: timedelta | None = None
    """GPU time; provisional until the engine's window is final, `None` where the engine gave no times."""
    attempts: int = 0
    """Attempts on the bill, of all steps together."""
    steps: int = 0
    estimated: bool = False
    """True where a figure of some attempt is an estimate, since the engine's own word of it is missing."""
    saved: Savings = Savings()
    """What kept results saved; beside `cost`, never in it."""

    def __add__(self, other: "Receipt") -> "Receipt":
        return Receipt(
            usage=self.usage + other.usage,
            timings=self.timings + other.timings,
            cost=self.cost + other.cost,
            waste=self.waste + other.waste,
            gpu=_sum(self.gpu, other.gpu),
            attempts=self.attempts + other.attempts,
            steps=self.steps + other.steps,
            estimated=self.estimated or other.estimated,
            saved=self.saved + other.saved,
        )
