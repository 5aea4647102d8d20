"""Problems of mixed difficulty with a known distribution of answers, all simulated.

Nothing here is measured on a model. Each problem has a rate at which each of two models solves it, a few wrong answers
that differ in how tempting they are, and replies whose lengths and confidences go with difficulty and correctness. The
same problem, model and draft always give the same reply, so that strategies are compared on the same luck.

What is assumed, and after what:

- Difficulty is a mixture of three kinds, so that most problems are solved nearly always, some about half the time and
  some hardly ever, as sampled solutions of benchmarks of school mathematics are.
- Replies to harder problems are longer, and so are wrong ones.
- Confidence is that of DeepConf (arXiv 2508.15260): of right and of wrong replies its distributions overlap, with means
  one and a half standard deviations apart, and it wanders within a reply.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from math import ceil, exp, log
from random import Random

__all__ = ["BLOCK", "KINDS", "LARGE", "PRICES", "SMALL", "Problem", "Sample", "problems"]

SMALL, LARGE = "small", "large"
PRICES: Mapping[str, int] = {SMALL: 1, LARGE: 20}
"""Of a token, in proportion: about those of a model of 4 and one of 70 billion parameters."""
BLOCK = 16
"""Tokens of equal confidence."""
RIGHT = "right"

KINDS: Mapping[str, tuple[float, tuple[float, float]]] = {
    "easy": (0.75, (20, 1)),
    "medium": (0.15, (4, 2.5)),
    "hard": (0.1, (1.2, 4)),
}
"""Share of the problems, and the Beta distribution of the rate at which the small model solves them."""
STRONGER = 1.5
"""By how much the large model's log odds of solving a problem are higher."""
TOKENS = 400
"""Median length of a right reply to a problem that is always solved."""
APART = 1.5
"""Between the mean confidences of right and wrong replies, in standard deviations of either."""


@dataclass(frozen=True)
class Sample:
    """One reply."""

    answer: str
    tokens: int
    likelihood: float
    """Geometric mean of its tokens' probabilities."""
    confidences: Sequence[float]
    """Of each block of tokens; the last one may be shorter."""

    def groups(self, window: int) -> Sequence[float]:
        """Mean confidence of the last `window` tokens after each block from which on there are so many."""
        sums = [0.0, *accumulate(self.confidences)]
        blocks = window // BLOCK
        return [(sums[end] - sums[end - blocks]) / blocks for end in range(blocks, len(sums))]

    def cut_at(self, least: float, window: int) -> int | None:
        """After how many tokens a floor under the groups' confidence ends it, to the block; `None` where it doesn't."""
        below = next((place for place, group in enumerate(self.groups(window)) if group < least), None)
        return None if below is None else min(self.tokens, window + below * BLOCK)


@dataclass(frozen=True)
class Problem:
    """A question whose right answer is `right`, and what models make of it."""

    number: int
    kind: str
    """As in `KINDS`."""
    solved: Mapping[str, float]
    """How often each model solves it."""
    tempting: Sequence[float]
    """Weights of the wrong answers, summed up to each."""

    def sample(self, model: str, draft: int) -> Sample:
        """The reply of a model's draft, the same each time."""
        return _sample(self.number, model, draft, self.solved[model], tuple(self.tempting))

    def accepts(self, answer: str | None) -> bool:
        """Whether it is right."""
        return answer == RIGHT


def problems(count: int, seed: int = 7) -> Sequence[Problem]:
    """So many problems, of mixed difficulty."""
    dice = Random(seed)
    found = list[Problem]()
    for number in range(count):
        (kind,) = dice.choices([*KINDS], [share for share, _ in KINDS.values()])
        a, b = KINDS[kind][1]
        small = min(max(dice.betavariate(a, b), 1e-6), 1 - 1e-6)
        large = 1 / (1 + exp(-(log(small / (1 - small)) + STRONGER)))
        wrong = [0.05 + dice.random() ** 2 for _ in range(dice.choice((3, 4, 6)))]
        solved, tempting = {SMALL: small, LARGE: large}, [*accumulate(wrong)]
        found.append(Problem(number=seed * 1_000_000 + number, kind=kind, solved=solved, tempting=tempting))
    return found


@lru_cache(maxsize=200_000)
def _sample(problem: int, model: str, draft: int, solved: float, tempting: Sequence[float]) -> Sample:
    dice = Random(f"{problem}/{model}/{draft}")
    right = dice.random() < solved
    wrong = bisect_left(tempting, dice.random() * tempting[-1])
    longer = (1 + (1 - solved) / 2) * (1 if right else 1.2)
    tokens = max(BLOCK, round(TOKENS * longer * dice.lognormvariate(0, 0.35)))
    sure = dice.gauss(APART if right else 0.0) + solved
    likelihood = 1 / (1 + exp(-(0.6 + 0.5 * sure)))
    return Sample(
        RIGHT if right else f"wrong {wrong}", tokens, likelihood, _wandering(dice, sure, ceil(tokens / BLOCK))
    )


def _wandering(dice: Random, sure: float, blocks: int) -> Sequence[float]:
    """Confidences around a mean, that keep for a while to one side of it."""
    confidences, away = list[float](), 0.0
    for _ in range(blocks):
        away = 0.8 * away + dice.gauss(0, 0.6)
        confidences.append(12 + 1.5 * (sure + 0.5 * away))
    return confidences
