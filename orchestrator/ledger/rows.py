"""Rows of the ledger as values: their keys, their prices, and what they add up to."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, and_

from orchestrator.database.tables import charges
from orchestrator.ledger.prices import FROM_CACHE, Price
from orchestrator.steps import GENERATE
from orchestrator.usage import Outcome, Receipt, Savings, Timings, Usage, usd_from_nano

__all__ = [
    "CALL",
    "FIGURES",
    "TOLD",
    "Attempt",
    "Reason",
    "engine_call",
    "from_cache",
    "is_engine_call",
    "microseconds",
    "receipt_of",
    "row_price",
    "same_call",
    "span",
    "tokens_of",
]

FIGURES = (
    "prompt_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "queue_us",
    "prefill_us",
    "decode_us",
    "gpu_us",
    "cost_nano",
)
"""Columns that add up over a step's rows, corrections included. Null is unknown."""


CALL = ("workflow_id", "run_id", "activity_id", "attempt", "call")
"""Columns that name a paid call; its rows differ in `entry`."""


class Reason(StrEnum):
    """Why a correction was made."""

    LATE = "late"
    """An attempt that was given up settled after all."""
    FACTS = "facts"
    """The engine's own record replaces an estimate."""
    ATTRIBUTION = "attribution"
    """The call's share of GPU time is final."""
    DISCARD = "discard"
    """The run threw the result away."""


TOLD = (Reason.LATE, Reason.FACTS)
"""After these, an estimate is none any more."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """The key of a row. Without `attempt`, it names the logical step."""

    workflow_id: str
    run_id: str
    activity_id: str
    attempt: int
    call: int = 0
    """Numbers the paid calls of one attempt."""

    @classmethod
    def of(cls, row: Any) -> "Attempt":
        """That of a row."""
        return cls(**{name: getattr(row, name) for name in CALL})

    @property
    def columns(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def step(self) -> ColumnElement[bool]:
        """All rows of the logical step, corrections included."""
        return and_(
            charges.c.workflow_id == self.workflow_id,
            charges.c.run_id == self.run_id,
            charges.c.activity_id == self.activity_id,
            charges.c.call == self.call,
        )


def same_call(one: Any, other: Any) -> ColumnElement[bool]:
    """Whether rows of two tables, by their columns, are of the same paid call."""
    return and_(*(one[name] == other[name] for name in CALL))


def row_price(row: Any) -> Price:
    """The unit prices that a row was charged at."""
    return Price(
        input=row.input_price,
        cached=row.cached_price,
        output=row.output_price,
        gpu=row.gpu_price,
        call=row.call_price,
        source=row.price_source or "",
    )


def is_engine_call(row: Any) -> bool:
    """Whether a row is an attempt of an engine call, of which a budget bounds the number."""
    return row.entry == 0 and row.kind == GENERATE and row.price_source != FROM_CACHE.source


def engine_call(c: Any) -> ColumnElement[bool]:
    """`is_engine_call`, of rows in the database."""
    return and_(c.entry == 0, c.kind == GENERATE, ~from_cache(c))


def from_cache(c: Any) -> ColumnElement[bool]:
    """Whether a kept result answers the attempts of rows in the database."""
    return c.price_source.is_not_distinct_from(FROM_CACHE.source)


def tokens_of(row: Any) -> int:
    """Prompt and output tokens known."""
    return (row.prompt_tokens or 0) + (row.output_tokens or 0)


def receipt_of(rows: Iterable[Any], *, steps: int = 0) -> Receipt:
    """What rows add up to, open ones counted as attempts only.

    An estimate that a later row replaced by the engine's own word is none any more.
    """
    sums: dict[str, int | None] = dict.fromkeys(FIGURES)
    waste, attempts = 0, 0
    saved = Savings()
    estimated: set[Attempt] = set()
    told: set[Attempt] = set()
    for row in rows:
        attempts += row.entry == 0
        if row.outcome is None:
            continue
        for name in FIGURES:
            if (figure := getattr(row, name)) is not None:
                sums[name] = (sums[name] or 0) + figure
        if Outcome(row.outcome).is_waste:
            waste += row.cost_nano
        if row.saved_tokens is not None:
            saved += Savings(results=1, usd=usd_from_nano(row.saved_nano), tokens=row.saved_tokens)
        if row.entry == 0 and row.estimated:
            estimated.add(Attempt.of(row))
        elif row.reason in TOLD:
            told.add(Attempt.of(row))
    return Receipt(
        usage=Usage(
            prompt=sums["prompt_tokens"],
            cached=sums["cached_tokens"],
            output=sums["output_tokens"],
            reasoning=sums["reasoning_tokens"],
        ),
        timings=Timings(queue=span(sums["queue_us"]), prefill=span(sums["prefill_us"]), decode=span(sums["decode_us"])),
        gpu=span(sums["gpu_us"]),
        cost=usd_from_nano(sums["cost_nano"] or 0),
        waste=usd_from_nano(waste),
        attempts=attempts,
        steps=steps,
        estimated=bool(estimated - told),
        saved=saved,
    )


def microseconds(span: timedelta | None) -> int | None:
    """A duration in the ledger's unit."""
    return None if span is None else span // timedelta(microseconds=1)


def span(us: int | None) -> timedelta | None:
    """The ledger's microseconds as a duration."""
    return None if us is None else timedelta(microseconds=us)
