"""The game of 24: puzzles, an exact check, and a proposer that stands in for a model.

The puzzles are real: four cards from 1 to 13 that can be made 24 with each used once, by + - * and /. So is the check,
in exact fractions: it also says how many of an answer's three steps keep 24 within reach. The proposer is scripted, and
no model. It knows next to nothing: it takes steps at random, and of the last ones that it thinks of the one closest to
24, which is right about as rarely as GPT-4's one answer (4 to 7 %, arXiv 2305.10601). Told which step went wrong it
goes on from the one before that, mostly; at times it forgets another step too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import combinations_with_replacement, permutations
from random import Random

__all__ = ["Puzzle", "puzzles"]

TARGET = Fraction(24)
THOUGHT_OF = 4
"""Steps that the proposer thinks of before it takes the last one."""
FORGETS = 0.25
"""How often it goes on from one step earlier than the check says, and again from there."""

Left = tuple[Fraction, ...]
"""The numbers that aren't used up, in order."""


@dataclass(frozen=True)
class _Step:
    text: str
    left: Left
    """After it."""


@dataclass(frozen=True)
class Puzzle:
    """Four numbers to make 24 of."""

    numbers: tuple[int, ...]

    @property
    def question(self) -> str:
        return (
            f"Make 24 of {', '.join(map(str, self.numbers))} with + - * /, each used once. One step a line: 4 * 6 = 24"
        )

    def score(self, answer: str) -> float:
        """The share of its three steps, from the first on, after which 24 can still be made; 1 where it is made."""
        return len(self._kept(answer)) / 3

    def accepts(self, answer: str) -> bool:
        """Whether it makes exactly 24."""
        return self.score(answer) == 1.0

    def propose(self, dice: Random, revised: str | None = None) -> str:
        """A fresh answer, or one that revises another, of which it is known which steps were right."""
        steps = list(self._kept(revised)) if revised is not None else []
        while steps and dice.random() < FORGETS:
            steps.pop()
        while len(steps) < 3:
            left = steps[-1].left if steps else _start(self.numbers)
            steps.append(_taken(dice, left))
        return "\n".join(step.text for step in steps)

    def _kept(self, answer: str) -> Sequence[_Step]:
        kept, left = list[_Step](), _start(self.numbers)
        for line in answer.splitlines()[:3]:
            step = next((step for step in _steps(left) if step.text == line.strip()), None)
            if step is None or not _can_win(step.left):
                break
            kept.append(step)
            left = step.left
        return kept


def puzzles(count: int, seed: int = 7) -> Sequence[Puzzle]:
    """So many different ones that can be solved."""
    every = [Puzzle(numbers) for numbers in combinations_with_replacement(range(1, 14), 4)]
    Random(seed).shuffle(every)
    solvable: Iterator[Puzzle] = (puzzle for puzzle in every if _can_win(_start(puzzle.numbers)))
    return [puzzle for puzzle, _ in zip(solvable, range(count), strict=False)]


def _start(numbers: Sequence[int]) -> Left:
    return tuple(sorted(map(Fraction, numbers)))


def _taken(dice: Random, left: Left) -> _Step:
    """A step at random; of several last ones that closest to 24."""
    steps = _steps(left)
    if len(left) > 2:
        return dice.choice(steps)
    return min(dice.choices(steps, k=THOUGHT_OF), key=lambda step: abs(step.left[0] - TARGET))


@lru_cache(maxsize=100_000)
def _steps(left: Left) -> Sequence[_Step]:
    """All that can be done with two of the numbers."""
    steps = dict[str, _Step]()
    for one, other in permutations(range(len(left)), 2):
        a, b = left[one], left[other]
        rest = [number for place, number in enumerate(left) if place not in (one, other)]
        made = {"+": a + b, "-": a - b, "*": a * b} | ({"/": a / b} if b else {})
        for sign, value in made.items():
            text = f"{a} {sign} {b} = {value}"
            steps[text] = _Step(text, tuple(sorted([*rest, value])))
    return [*steps.values()]


@lru_cache(maxsize=500_000)
def _can_win(left: Left) -> bool:
    """Whether 24 can be made of all of these."""
    return left == (TARGET,) or (len(left) > 1 and any(_can_win(step.left) for step in _steps(left)))
