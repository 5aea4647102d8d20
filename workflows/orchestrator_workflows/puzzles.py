"""Generated word problems, easy to check and hard for a very small model: it solves one now and then.

Pure; the same seed makes the same problems.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from pydantic import JsonValue

__all__ = ["Puzzle", "puzzles"]

INSTRUCTIONS = """You work problems out in steps, and write nothing but the steps.
Lee has 2 boxes with 5 pens in each, and gives away 3 pens. How many pens are left?
2 * 5 = 10, 10 - 3 = 7
Mia has 4 boxes with 6 eggs in each, and gives away 9 eggs. How many eggs are left?
4 * 6 = 24, 24 - 9 = 15"""
FORM: dict[str, JsonValue] = {
    "type": "string",
    "pattern": r"^[0-9]+ \* [0-9]+ = [0-9]+, [0-9]+ - [0-9]+ = [0-9]+$",
}
"""Two steps, so that a reply is short."""
MAX_TOKENS = 40
TEMPERATURE = 0.7


@dataclass(frozen=True)
class Puzzle:
    """A word problem and its answer."""

    question: str
    answer: int

    def problem(self, strategy: JsonValue) -> dict[str, Any]:
        """The input of the workflow `solve` that tries it by a strategy."""
        return {
            "question": self.question,
            "check": {"kind": "number", "equals": self.answer},
            "strategy": strategy,
            "instructions": INSTRUCTIONS,
            "form": FORM,
            "max_tokens": MAX_TOKENS,
            "temperature": TEMPERATURE,
        }


def puzzles(count: int, *, seed: int) -> Sequence[Puzzle]:
    """Problems of two steps, all different."""
    random = Random(seed)  # noqa: S311 - not for secrets
    made: dict[str, Puzzle] = {}
    while len(made) < count:
        boxes, each = random.randint(3, 9), random.randint(3, 9)
        gone = random.randint(2, min(20, boxes * each - 1))
        who, what = random.choice(("Tom", "Ana", "Sam", "Eva")), random.choice(("apples", "coins", "cards", "keys"))
        question = (
            f"{who} has {boxes} boxes with {each} {what} in each, and gives away {gone} {what}. "
            f"How many {what} are left?"
        )
        made[question] = Puzzle(question, boxes * each - gone)
    return list(made.values())
