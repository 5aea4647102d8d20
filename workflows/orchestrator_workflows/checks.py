"""Exact checks of answers, as values: JSON in an input, a judge in a run.

Pure.
"""

from collections import Counter
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from orchestrator.judging import Verdict
from orchestrator_workflows.arithmetic import arithmetic, last_expression, last_number, shown

__all__ = ["Check", "Expression", "Number"]


def _text(value: object) -> object:
    """Numbers by what is written, so that 0.1 is a tenth."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _exact(value: str) -> str:
    try:
        return shown(Fraction(value))
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError(f"{value!r} is no number: write 42, 0.75 or '3/4'") from error


ExactNumber = Annotated[
    str, BeforeValidator(_text, json_schema_input_type=int | float | str), AfterValidator(_exact), Field(max_length=100)
]


class Number(BaseModel):
    """The answer is a number, and this one: `{"kind": "number", "equals": 42}`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["number"] = "number"
    equals: ExactNumber

    @staticmethod
    def read(text: str) -> str | None:
        """The last number."""
        return last_number(text)

    def verdict(self, answer: str) -> Verdict:
        """Whether it is the number; what the number is isn't given away."""
        right = answer == self.equals
        return Verdict(score=float(right), passed=right, feedback="" if right else f"{answer} is not the answer.")


class Expression(BaseModel):
    """The answer is an expression with a value: `{"kind": "expression", "makes": 24, "of": [4, 7, 8, 8]}`.

    Puzzles like the game of 24, where an answer is hard to find and easy to check.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["expression"] = "expression"
    makes: ExactNumber
    of: Annotated[tuple[Annotated[int, Field(ge=0, le=10**9)], ...], Field(min_length=2, max_length=20)]
    """What it must be made of, with + - * / and parentheses: each number once."""

    @staticmethod
    def read(text: str) -> str | None:
        """The last expression with an operator."""
        return last_expression(text)

    def verdict(self, answer: str) -> Verdict:
        """Whether it is made of the numbers and has the value; half the score for the numbers."""
        try:
            found = arithmetic(answer)
        except ValueError as error:
            return Verdict(score=0.0, passed=False, feedback=f"{answer} can't be computed: {error}.")
        spare, short = Counter(found.numbers) - Counter(self.of), Counter(self.of) - Counter(found.numbers)
        wrong = [
            f"it uses {_listed(spare)}, which isn't there" if spare else "",
            f"it doesn't use {_listed(short)}" if short else "",
            f"it is {shown(found.value)}, not {self.makes}" if found.value != Fraction(self.makes) else "",
        ]
        feedback = ", and ".join(filter(None, wrong))
        score = 0.0 if spare or short else 0.5 if feedback else 1.0
        return Verdict(score=score, passed=not feedback, feedback=f"{answer}: {feedback}." if feedback else "")


Check = Annotated[Number | Expression, Field(discriminator="kind")]
"""How an answer is read out of what the model wrote, and whether it is right."""


def _listed(numbers: Counter[int]) -> str:
    return ", ".join(str(number) for number in sorted(numbers.elements()))
