"""Debaters argue in rounds, each in a conversation of its own, and a judge decides."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from orchestrator import Budget, Receipt, Reply, RunContext, Transcript
from orchestrator.errors import BudgetExceeded
from orchestrator.strategies import Direct
from orchestrator_workflows.shipped import app
from orchestrator_workflows.strategy import GivenStrategy

__all__ = ["Debate", "Decision", "Motion", "Statement", "debate"]

DEBATER = """You are {name}, a debater. The question: {question}
You argue for this: {side}
Be brief, concrete and honest, and answer what the others say."""
FREE = "the answer that you think is right, until the others convince you of a better one"
OPEN = "Open the debate: give your answer, and your best reasons for it."
REPLY = "The others say:\n\n{others}\n\nReply to them."
JUDGE = """You judge a debate. The question: {question}
Decide by the arguments alone, not by who speaks first, last or longest."""
DECIDE = "{statements}\n\nWhy did who argue best, and what is the answer to the question?"
NAMES = "ABCDEFGH"


class Motion(BaseModel):
    """What is debated, and by whom."""

    model_config = ConfigDict(extra="forbid")

    question: Annotated[str, Field(min_length=1, max_length=4000)]
    sides: Annotated[list[Annotated[str, Field(min_length=1, max_length=1000)]], Field(max_length=len(NAMES))] = []
    """What each debater argues for. Without them, each argues for what it thinks is right."""
    debaters: Annotated[int, Field(ge=2, le=len(NAMES))] = 2
    """How many there are, where there are no `sides`."""
    rounds: Annotated[int, Field(ge=1, le=6)] = 2
    judging: GivenStrategy = Direct()
    """How the judge decides; `vote` has it decide several times."""
    max_tokens: Annotated[int, Field(ge=16, le=8192)] = 256
    """Of each statement; the decision may take 512."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.sides) == 1:
            raise ValueError("with one side there is no debate: give two or more, or none")
        if self.judging.needs_judge:
            raise ValueError(f"judging: {self.judging.label} needs a judge itself; give 'direct' or 'vote'")
        return self


class Statement(BaseModel):
    """What a debater said in a round."""

    debater: str
    round: int
    text: str


class Decision(BaseModel):
    """What the judge says."""

    reasons: Annotated[str, Field(min_length=1, max_length=600)]
    winner: str
    answer: Annotated[str, Field(min_length=1, max_length=400)]
    """To the question."""


class Debate(BaseModel):
    """A decision, what it rests on, and what everyone cost."""

    decision: Decision
    confidence: float | None
    """That the winner is the judge's choice, where it decided several times."""
    statements: list[Statement]
    costs: dict[str, Receipt]
    """Of each debater, of the `judge`, and `total`."""


@app.workflow(budget=Budget(usd=Decimal("0.50"), tokens=1_000_000, on_exhausted="finish"))
async def debate(ctx: RunContext, motion: Motion) -> Debate:
    """Let debaters argue in rounds, each in a conversation of its own, and a judge decide."""
    sides = motion.sides or [FREE] * motion.debaters
    chats = {
        name: ctx.transcript(system=DEBATER.format(name=name, question=motion.question, side=side))
        for name, side in zip(NAMES, sides, strict=False)
    }
    costs = {name: Receipt() for name in chats}
    statements: list[Statement] = []
    for number in range(1, motion.rounds + 1):
        for name, reply in (await _round(ctx, motion, chats, statements)).items():
            statements.append(Statement(debater=name, round=number, text=reply.text.strip()))
            costs[name] += reply.receipt
        if ctx.closing:
            break
    thought = await ctx.think(
        DECIDE.format(statements=_told(statements)),
        strategy=motion.judging,
        output=_decision(list(chats)),
        key=lambda decision: decision.winner,
        transcript=ctx.transcript(system=JUDGE.format(question=motion.question)),
        temperature=motion.temperature if motion.judging.drafts_at_most > 1 else 0.0,
    )
    costs |= {"judge": thought.receipt, "total": ctx.receipt}
    return Debate(decision=thought.value, confidence=thought.confidence, statements=statements, costs=costs)


async def _round(
    ctx: RunContext, motion: Motion, chats: dict[str, Transcript], statements: Sequence[Statement]
) -> dict[str, Reply]:
    """What each says, in order; where the budget ends in the middle, of those who had their say."""
    last = {each.debater: each for each in statements}

    async def speak(name: str) -> Reply | None:
        others = _told([last[other] for other in chats if other != name]) if last else ""
        try:
            return await chats[name].generate(
                REPLY.format(others=others) if last else OPEN,
                max_tokens=motion.max_tokens,
                temperature=motion.temperature,
                closes=False,
            )
        except BudgetExceeded:
            if ctx.closing and last:
                return None
            raise

    said = await ctx.map(speak, list(chats))
    return {name: reply for name, reply in zip(chats, said, strict=True) if reply is not None}


def _told(statements: Sequence[Statement]) -> str:
    return "\n\n".join(f"{each.debater}: {each.text or '(says nothing)'}" for each in statements)


def _decision(names: Sequence[str]) -> type[Decision]:
    winner: Any = Literal[tuple(names)]  # pyright: ignore[reportInvalidTypeForm]
    return create_model("Decision", __base__=Decision, winner=(winner, ...))
