"""Solve a problem by any strategy, with an exact check where there is one."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

from orchestrator import Budget, Receipt, RunContext
from orchestrator.budget import Allowance
from orchestrator.judging import Judge, graded, verified
from orchestrator.strategies import BestOf, Trial, Vote
from orchestrator_tools import calculator, python
from orchestrator_workflows.arithmetic import last_number
from orchestrator_workflows.checks import Check, Expression
from orchestrator_workflows.shapes import shape_of
from orchestrator_workflows.shipped import app
from orchestrator_workflows.strategy import GivenStrategy

__all__ = ["Attempt", "Problem", "Solution", "solve"]

FOR_A_NUMBER = "Solve the problem. Reason briefly, step by step, and end with the answer as a number."
FOR_AN_EXPRESSION = "Solve the puzzle. End with one expression of numbers, + - * / and parentheses, and no equals sign."


class Problem(BaseModel):
    """A problem whose answer is a number or an expression, and how to go about it."""

    model_config = ConfigDict(extra="forbid")

    question: Annotated[str, Field(min_length=1, max_length=8000)]
    check: Check | None = None
    """What the answer must be. Without it, it is a number that nobody can check."""
    strategy: GivenStrategy | None = None
    """By default `best_of` with a check, and `vote` without. One that needs a judge and has no check asks the model."""
    budget: Allowance | None = None
    """What may be spent on it; at its end the best answer so far is the answer."""
    instructions: Annotated[str, Field(max_length=8000)] | None = None
    """In place of the usual ones."""
    form: dict[str, JsonValue] | None = None
    """JSON Schema that a reply is held to while it is written, such as a text of a pattern; else it is free."""
    tools: bool = False
    """Whether the model may use the calculator and run Python."""
    max_tokens: Annotated[int, Field(ge=1, le=32_768)] = 512
    """Of each reply."""
    temperature: Annotated[float, Field(gt=0, le=2)] = 0.7

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.budget is not None and self.budget.gpu_seconds is not None:
            raise ValueError("a budget of gpu_seconds bounds whole runs only: give usd, tokens or calls")
        if self.form is not None:
            shape_of(self.form)
        return self


class Attempt(BaseModel):
    """One of the drafts."""

    answer: str | None
    """`None` where none could be read out of it, or it was given up."""
    passed: bool | None
    score: float | None
    status: str
    tokens: int
    """That the model wrote, where it came to its end."""


class Solution(BaseModel):
    """An answer, how sure it is, and what was tried for it at what cost."""

    answer: str
    correct: bool | None
    """What the check says; `None` without one."""
    confidence: float | None
    """By what the strategy goes by: votes, the judge's score, or likelihood."""
    strategy: str
    text: str
    """All that the model wrote for the answer."""
    trials: list[Attempt]
    receipt: Receipt


@app.workflow(budget=Budget(usd=Decimal("0.50"), tokens=1_000_000, on_exhausted="finish"))
async def solve(ctx: RunContext, problem: Problem) -> Solution:
    """Solve a problem by any strategy, with an exact check where there is one."""
    check = problem.check
    strategy = problem.strategy or (Vote() if check is None else BestOf())
    judge: Judge | None = verified(check.verdict) if check else graded() if strategy.needs_judge else None
    read = check.read if check else last_number
    usual = FOR_AN_EXPRESSION if isinstance(check, Expression) else FOR_A_NUMBER
    thought = await ctx.think(
        problem.question,
        strategy=strategy,
        output=str if problem.form is None else _held_to(problem.form, read),
        extract=read if problem.form is None else None,
        judge=judge,
        transcript=ctx.transcript(
            system=usual if problem.instructions is None else problem.instructions,
            tools=[calculator, python] if problem.tools else [],
        ),
        budget=problem.budget,
        max_tokens=problem.max_tokens,
        temperature=problem.temperature,
    )
    correct = check and check.verdict(thought.value).passed
    if correct is not None:
        ctx.judge(correct)
    return Solution(
        answer=thought.value,
        correct=correct,
        confidence=thought.confidence,
        strategy=thought.strategy,
        text=thought.text,
        trials=[_attempt(trial) for trial in thought.trials],
        receipt=thought.receipt,
    )


def _held_to(form: dict[str, JsonValue], read: Callable[[str], str | None]) -> Any:
    """The type of a reply in a form, which comes to the answer that is read out of it."""

    def answer(reply: JsonValue) -> str:
        found = read(reply if isinstance(reply, str) else json.dumps(reply))
        if found is None:
            raise ValueError("there is no answer in it")
        return found

    return Annotated[shape_of(form), AfterValidator(answer)]


def _attempt(trial: Trial) -> Attempt:
    return Attempt(
        answer=trial.answer, passed=trial.passed, score=trial.score, status=trial.status, tokens=trial.tokens
    )
