"""Judge an answer by criteria, or say which of two is better: by one forward pass, or in writing."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from orchestrator import Budget, Receipt, RunContext, Transcript
from orchestrator_workflows.shipped import app

__all__ = ["Assessment", "Judgement", "Mark", "judge"]

INSTRUCTIONS = "You judge answers, strictly and by what they say. Length and polish count for nothing."
ONE = "The question:\n{question}\n\nThe answer:\n{answer}"
TWO = "The question:\n{question}\n\nAnswer A:\n{a}\n\nAnswer B:\n{b}\n\nWhat counts:\n{criteria}"
MEETS = "Is this so of the answer: {criterion} Reply with one word, Yes or No."
MARK = "How far is this so of the answer: {criterion} Give your reasons, and a score from 0 (not at all) to 10 (fully)."
BETTER = "Which answer is better by what counts? Reply with one letter, A or B."
PREFER = "Which answer is better by what counts? Give your reasons, and A or B."

Text = Annotated[str, Field(min_length=1, max_length=50_000)]
Criterion = Annotated[str, Field(min_length=1, max_length=1000)]


class Assessment(BaseModel):
    """What to judge, and by what."""

    model_config = ConfigDict(extra="forbid")

    question: Text
    answer: Text
    other: Text | None = None
    """Another answer: then the question is which of the two is better."""
    criteria: Annotated[list[Criterion], Field(min_length=1, max_length=20)] = ["It answers the question correctly."]
    """What should be so of a good answer."""
    how: Literal["graded", "written"] = "graded"
    """`graded`: the probability that the model says yes, in one forward pass. `written`: a score with reasons."""
    max_tokens: Annotated[int, Field(ge=100, le=8192)] = 400
    """Of what is written for one criterion."""


class Mark(BaseModel):
    """How far one criterion is met."""

    criterion: str
    score: float
    """From 0 to 1."""
    reasons: str = ""
    """Where it is written."""
    clear: float | None = None
    """Where it is graded: how likely the model was to answer with one of the words at all. Trust no score if low."""


class Judgement(BaseModel):
    """A score, or which answer is better."""

    score: float
    """From 0 to 1: the mean of the marks; of two answers, how much the first is preferred."""
    better: Literal["answer", "other", "neither"] | None = None
    """Of two answers. `neither`: it depends on which one is read first."""
    marks: list[Mark]
    """One for each criterion; of two answers, one for each order."""
    receipt: Receipt


class _Score(BaseModel):
    reasons: Annotated[str, Field(min_length=1, max_length=800)]
    score: Annotated[int, Field(ge=0, le=10)]


class _Preference(BaseModel):
    reasons: Annotated[str, Field(min_length=1, max_length=800)]
    better: Literal["A", "B"]


@app.workflow(budget=Budget(usd=Decimal("0.10"), tokens=400_000))
async def judge(ctx: RunContext, given: Assessment) -> Judgement:
    """Judge an answer by criteria, or say which of two is better: by one forward pass, or in writing."""
    if given.other is None:
        chat = _chat(ctx, ONE.format(question=given.question, answer=given.answer))
        first, *rest = given.criteria
        mark = await _mark(given, chat, first)  # after it, the others find the answer in the engine's cache
        marks = [mark, *await ctx.map(lambda criterion: _mark(given, chat, criterion), rest)]
        return Judgement(score=_mean(marks), marks=marks, receipt=ctx.receipt)
    criteria = "\n".join(f"- {criterion}" for criterion in given.criteria)
    orders = (given.answer, given.other), (given.other, given.answer)
    cases = [TWO.format(question=given.question, a=a, b=b, criteria=criteria) for a, b in orders]
    marks = [*await ctx.map(lambda swapped: _prefer(given, _chat(ctx, cases[swapped]), swapped), (False, True))]
    agreed = len({mark.score > 0.5 for mark in marks}) == 1
    better = "neither" if not agreed else "answer" if marks[0].score > 0.5 else "other"
    return Judgement(score=_mean(marks), better=better, marks=marks, receipt=ctx.receipt)


def _chat(ctx: RunContext, case: str) -> Transcript:
    chat = ctx.transcript(system=INSTRUCTIONS)
    chat.say(case)
    return chat


async def _mark(given: Assessment, chat: Transcript, criterion: str) -> Mark:
    if given.how == "graded":
        graded = await chat.grade(MEETS.format(criterion=criterion))
        return Mark(criterion=criterion, score=graded.probabilities[0], clear=graded.mass)
    question = MARK.format(criterion=criterion)
    written = await chat.fork().ask(question, output=_Score, max_tokens=given.max_tokens)
    return Mark(criterion=criterion, score=written.score / 10, reasons=written.reasons)


async def _prefer(given: Assessment, chat: Transcript, swapped: bool) -> Mark:
    """How much the first answer is preferred where it is read first, or second."""
    order = "the other answer first" if swapped else "the answer first"
    if given.how == "graded":
        graded = await chat.grade(BETTER, ("A", "B"))
        return Mark(criterion=order, score=graded.probabilities[int(swapped)], clear=graded.mass)
    written = await chat.ask(PREFER, output=_Preference, max_tokens=given.max_tokens)
    return Mark(criterion=order, score=float((written.better == "B") is swapped), reasons=written.reasons)


def _mean(marks: Sequence[Mark]) -> float:
    return sum(mark.score for mark in marks) / len(marks)
