"""What a right answer is expected to cost by each strategy: by past runs, and by assumptions where there are none.

Exact fractions, so that every process chooses alike.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from orchestrator.strategies.machine import Strategy
from orchestrator.strategies.parameters import Count
from orchestrator.usage import Usd

__all__ = ["Difficulty", "Experience", "cheapest_pass"]

Difficulty = Literal["easy", "medium", "hard"]
S = TypeVar("S", bound=Strategy)

_PASSES: Mapping[str, tuple[int, int, int]] = MappingProxyType({
    "direct": (90, 50, 15),
    "agent": (90, 50, 15),
    "early_exit": (90, 50, 15),
    "vote": (95, 70, 25),
    "confident_vote": (95, 70, 25),
    "best_of": (97, 85, 40),
    "revise": (97, 75, 35),
    "cascade": (95, 70, 35),
    "beam": (95, 80, 40),
    "adaptive_tree": (97, 88, 50),
})  # fmt: skip
"""Assumed: of 100 easy, medium and hard problems, how many are solved. Generous, so that what isn't known is tried."""
_DRAFTS: Mapping[Difficulty, Fraction] = MappingProxyType(
    {"easy": Fraction(1, 2), "medium": Fraction(3, 4), "hard": Fraction(1)}
)
"""Assumed: the share of its most drafts that a strategy makes."""
_ASSUMED_RUNS = 4
"""How many runs it takes until what is known weighs as much as what is assumed."""


class Experience(BaseModel):
    """How a strategy did on past runs of one difficulty."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: str
    """As `Strategy.label` names it."""
    difficulty: Difficulty
    runs: Count
    passed: Annotated[int, Field(ge=0)]
    """Runs whose answer was right."""
    cost: Annotated[Usd, Field(ge=0)]
    """Of these runs together, waste included."""

    @model_validator(mode="after")
    def _parts(self) -> Self:
        if self.passed > self.runs:
            raise ValueError(f"passed ({self.passed}) exceeds runs ({self.runs})")
        return self


def cheapest_pass(
    candidates: Sequence[S], difficulty: Difficulty, experience: Sequence[Experience], *, pilots: int, enough: float
) -> S:
    """The strategy with the least cost of pass: mean cost over pass rate (arXiv 2504.13359).

    Only those count that pass at least `enough` times as often as the one that passes most often, since that figure
    alone favours whatever is cheap and often wrong. `pilots` are the drafts that are made anyway.
    """
    draft = _draft_cost(candidates, experience, pilots)
    known = [row for row in experience if row.difficulty == difficulty]
    rates, costs = list[Fraction](), list[Fraction]()
    for each in candidates:
        rows = [row for row in known if row.strategy == each.label]
        runs = _ASSUMED_RUNS + sum(row.runs for row in rows)
        rates.append((_ASSUMED_RUNS * _passes(each, difficulty) + sum(row.passed for row in rows)) / runs)
        costs.append((_ASSUMED_RUNS * draft * _drafts(each, difficulty, pilots) + _cost(rows)) / runs)
    least = Fraction(enough) * max(rates)
    fit = [place for place, rate in enumerate(rates) if rate >= least]
    return candidates[min(fit, key=lambda place: costs[place] / rates[place])]


def _passes(strategy: Strategy, difficulty: Difficulty) -> Fraction:
    easy, medium, hard = _PASSES.get(strategy.label, _PASSES["direct"])
    return Fraction({"easy": easy, "medium": medium, "hard": hard}[difficulty], 100)


def _drafts(strategy: Strategy, difficulty: Difficulty, pilots: int) -> Fraction:
    return max(Fraction(pilots), _DRAFTS[difficulty] * strategy.drafts_at_most)


def _draft_cost(candidates: Sequence[Strategy], experience: Sequence[Experience], pilots: int) -> Fraction:
    """What one draft costs, going by the strategies of which something is known; 1 where that is none."""
    by_label = {each.label: each for each in candidates}
    rows = [row for row in experience if row.strategy in by_label]
    drafts = sum(row.runs * _drafts(by_label[row.strategy], row.difficulty, pilots) for row in rows)
    return _cost(rows) / drafts if drafts and _cost(rows) else Fraction(1)


def _cost(rows: Iterable[Experience]) -> Fraction:
    return Fraction(sum((row.cost for row in rows), Decimal(0)))
