"""How two ways of running the same inputs differ: paired means, and how sure they are.

Pure, and the same each time: the bootstrap draws by a fixed seed.
"""

import random
from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from orchestrator.usage import Usd

__all__ = ["METHOD", "Difference", "Metric", "compared"]

RESAMPLES = 2_000
SEED = 20_260_301
LEAST = 5
"""Pairs; fewer say nothing of how far they may be from the truth."""

METHOD = f"paired percentile bootstrap of the mean, 95 %, {RESAMPLES:,} resamples, seed {SEED}"


class Metric(StrEnum):
    """What is compared."""

    COST = "cost"
    """US dollars of a run; what recorded answers of tools cost the original counts for the rerun too."""
    TOKENS = "tokens"
    TIME = "time"
    """Seconds in which at least one engine call was under way."""
    ACCURACY = "accuracy"
    """Per cent of the runs whose result is right."""


_PLACES = {
    Metric.COST: Decimal("1e-9"),
    Metric.TOKENS: Decimal("0.1"),
    Metric.TIME: Decimal("0.001"),
    Metric.ACCURACY: Decimal("0.01"),
}
_RELATIVE = Decimal("0.0001")


class Difference(BaseModel):
    """A mean over pairs of runs, before and after. All figures are exact decimals, as text in JSON."""

    model_config = ConfigDict(frozen=True)

    metric: Metric
    pairs: int
    original: Usd
    variant: Usd
    difference: Usd
    """The variant's mean less the original's; below zero where it is less."""
    low: Usd | None
    """Bounds of the difference; `None` with fewer than five pairs."""
    high: Usd | None
    relative: Usd | None
    """The difference as a part of the original's mean; `None` where that is zero."""
    relative_low: Usd | None
    relative_high: Usd | None


def compared(metric: Metric, originals: Sequence[Decimal], variants: Sequence[Decimal]) -> Difference | None:
    """What pairs of figures come to; `None` where there are none."""
    count = len(originals)
    if not count:
        return None
    place = _PLACES[metric]
    before, after = sum(originals, Decimal(0)) / count, sum(variants, Decimal(0)) / count
    low, high, relative_low, relative_high = _bounds(originals, variants, place)
    return Difference(
        metric=metric,
        pairs=count,
        original=before.quantize(place),
        variant=after.quantize(place),
        difference=(after - before).quantize(place),
        low=low,
        high=high,
        relative=None if not before else (after / before - 1).quantize(_RELATIVE),
        relative_low=relative_low,
        relative_high=relative_high,
    )


_Bound = Decimal | None


def _bounds(
    originals: Sequence[Decimal], variants: Sequence[Decimal], place: Decimal
) -> tuple[_Bound, _Bound, _Bound, _Bound]:
    """Of the difference, and of the relative one: pairs are drawn, so that what both have in common cancels out."""
    count = len(originals)
    if count < LEAST:
        return None, None, None, None
    draw = random.Random(SEED)  # noqa: S311 - not a secret
    pairs = range(count)
    differences: list[Decimal] = []
    relatives: list[Decimal] = []
    for _ in range(RESAMPLES):
        drawn = draw.choices(pairs, k=count)
        before = sum((originals[pair] for pair in drawn), Decimal(0))
        after = sum((variants[pair] for pair in drawn), Decimal(0))
        differences.append((after - before) / count)
        if before:
            relatives.append(after / before - 1)
    low, high = _middle(differences)
    relative_low, relative_high = _middle(relatives) if len(relatives) == RESAMPLES else (None, None)
    return (
        low.quantize(place),
        high.quantize(place),
        None if relative_low is None else relative_low.quantize(_RELATIVE),
        None if relative_high is None else relative_high.quantize(_RELATIVE),
    )


def _middle(values: list[Decimal]) -> tuple[Decimal, Decimal]:
    """Where 95 of 100 lie."""
    ordered = sorted(values)
    cut = len(ordered) // 40
    return ordered[cut], ordered[-cut - 1]
