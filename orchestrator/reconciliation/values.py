"""What a comparison of ledger and engine says."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, computed_field

__all__ = ["Quantity", "Reconciliation"]


class Quantity(BaseModel):
    """How many of something the ledger has, and how many the engine counted."""

    model_config = ConfigDict(frozen=True)

    ledger: int
    engine: int | None
    """`None` where the engine doesn't expose it, or has counted none since it started."""

    @computed_field
    @property
    def drift(self) -> int | None:
        """How many more the ledger has; negative where calls went past the orchestrator."""
        return None if self.engine is None else self.ledger - self.engine

    @computed_field
    @property
    def coverage(self) -> float | None:
        """The share of the engine's that the ledger has; `None` where the engine has none."""
        return self.ledger / self.engine if self.engine else None

    @property
    def agrees(self) -> bool:
        """Whether nothing is missing on either side. What the engine doesn't say agrees with nothing but none."""
        return self.ledger == 0 if self.engine is None else self.ledger == self.engine

    def __add__(self, other: "Quantity") -> "Quantity":
        return Quantity(ledger=self.ledger + other.ledger, engine=_sum(self.engine, other.engine))


class Reconciliation(BaseModel):
    """One server over a stretch of time without a restart: from one snapshot of its counters to a later one."""

    model_config = ConfigDict(frozen=True)

    server: str
    since: datetime
    until: datetime
    prompt: Quantity
    """Tokens, cached ones included."""
    cached: Quantity
    output: Quantity
    requests: Quantity
    """Of which the engine computed something."""
    aborted: int | None
    """By the engine's count; it counts orders to abort, which the ledger's rows needn't show."""
    retracted_tokens: int | None
    """Computed, thrown away for want of room, and computed again; they are in nobody's bill."""
    open: int
    """Attempts that were reserved before the end and aren't settled: until they are, nothing can be said for good."""
    estimated: int
    """Calls whose figures are estimates, since no engine's word of them is there: what may explain a drift."""

    @computed_field
    @property
    def final(self) -> bool:
        """Whether no attempt is open."""
        return not self.open

    @computed_field
    @property
    def drift(self) -> int | None:
        """The largest difference of any kind of token, whichever way; `None` where the engine doesn't say."""
        if any(quantity.engine is None and quantity.ledger for quantity in self.tokens):
            return None
        return max(abs(quantity.drift or 0) for quantity in self.tokens)

    @property
    def tokens(self) -> tuple[Quantity, Quantity, Quantity]:
        return self.prompt, self.cached, self.output

    @property
    def agrees(self) -> bool:
        """Whether no kind of token differs."""
        return all(quantity.agrees for quantity in self.tokens)

    def joined(self, other: "Reconciliation") -> "Reconciliation":
        """This stretch and the one right after it, as one."""
        return Reconciliation(
            server=self.server,
            since=self.since,
            until=other.until,
            prompt=self.prompt + other.prompt,
            cached=self.cached + other.cached,
            output=self.output + other.output,
            requests=self.requests + other.requests,
            aborted=_sum(self.aborted, other.aborted),
            retracted_tokens=_sum(self.retracted_tokens, other.retracted_tokens),
            open=max(self.open, other.open),
            estimated=self.estimated + other.estimated,
        )


def _sum(one: int | None, other: int | None) -> int | None:
    """Of one boot: a counter that isn't there yet has counted nothing."""
    return other if one is None else one if other is None else one + other
