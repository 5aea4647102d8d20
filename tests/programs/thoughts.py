"""Workflows that think by whatever strategy they are given."""

from typing import Any, Literal

from pydantic import BaseModel

from orchestrator import Budget, Orchestrator, Receipt, RunContext, ToolContext
from orchestrator.budget import Allowance
from orchestrator.extracting import last_integer
from orchestrator.judging import Judge, Verdict, graded, judged_by, likely, verified
from orchestrator.strategies import AnyStrategy

app = Orchestrator("thoughts")


class Puzzle(BaseModel):
    strategy: AnyStrategy
    judge: Literal["none", "exact", "tool", "graded", "likely", "broken", "babbling"] = "none"
    right: int = 42
    output: Literal["read", "json", "text"] = "read"
    question: str = "What is six times seven?"
    max_tokens: int = 64
    temperature: float = 0.7
    budget: Allowance | None = None
    tools: bool = False


class Solved(BaseModel):
    value: Any
    text: str
    confidence: float | None
    trials: int
    strategy: str
    receipt: Receipt
    of_the_run: Receipt
    then: str = ""
    """What the conversation says when it goes on."""


@app.tool(effect="read")
async def close_to(ctx: ToolContext, answer: int) -> Verdict:
    """How close an answer is to 42."""
    score = max(0.0, 1 - abs(answer - 42) / 100)
    return Verdict(score=score, passed=answer == 42, feedback=f"It is off by {abs(answer - 42)}.")


@app.tool(effect="read")
async def measure(ctx: ToolContext, what: str) -> str:
    """Measures something."""
    return f"{what} is 42"


@app.tool(effect="write")
async def publish(ctx: ToolContext, what: str) -> str:
    """Can't be taken back."""
    return what


def _judge(puzzle: Puzzle) -> Judge | None:
    def broken(_: int) -> bool:
        raise ZeroDivisionError("the judge has a bug")

    def babbling(_: int) -> Any:
        return "maybe"

    def exact(answer: int) -> Verdict:
        return Verdict(
            score=float(answer == puzzle.right), passed=answer == puzzle.right, feedback=f"{answer} isn't it."
        )

    judges: dict[str, Judge] = {
        "exact": verified(exact),
        "tool": judged_by(close_to),
        "graded": graded(),
        "likely": likely(),
        "broken": verified(broken),
        "babbling": verified(babbling),
    }
    return judges.get(puzzle.judge)


async def _solve(ctx: RunContext, puzzle: Puzzle) -> Solved:
    output: dict[str, Any] = {
        "read": {"output": int, "extract": last_integer},
        "json": {"output": int},
        "text": {},
    }[puzzle.output]
    chat = ctx.transcript(system="You reckon.", tools=[measure] if puzzle.tools else [])
    thought = await ctx.think(
        puzzle.question,
        strategy=puzzle.strategy,
        judge=_judge(puzzle),
        transcript=chat,
        budget=puzzle.budget,
        max_tokens=puzzle.max_tokens,
        temperature=puzzle.temperature,
        **output,
    )
    return Solved(
        value=thought.value,
        text=thought.text,
        confidence=thought.confidence,
        trials=len(thought.trials),
        strategy=thought.strategy,
        receipt=thought.receipt,
        of_the_run=ctx.receipt,
    )


@app.workflow()
async def solved(ctx: RunContext, puzzle: Puzzle) -> Solved:
    """One thought."""
    return await _solve(ctx, puzzle)


@app.workflow()
async def solved_and_told(ctx: RunContext, puzzle: Puzzle) -> str:
    """A thought, after which the conversation goes on."""
    chat = ctx.transcript(system="You reckon.")
    await ctx.think(
        puzzle.question,
        strategy=puzzle.strategy,
        judge=_judge(puzzle),
        output=int,
        extract=last_integer,
        transcript=chat,
    )
    return (await chat.generate("And why?")).text


@app.workflow()
async def first_of_many(ctx: RunContext, puzzle: Puzzle) -> Solved:
    """Drafts of different lengths, of which the first to end is taken."""
    lengths = iter(range(1, 100))

    def short(text: str) -> int | None:
        return next(lengths) if text else None

    thought = await ctx.think(
        puzzle.question,
        strategy=puzzle.strategy,
        judge=_judge(puzzle),
        output=int,
        extract=short,
        max_tokens=puzzle.max_tokens,
        temperature=1.0,
    )
    return Solved(
        value=thought.value,
        text=thought.text,
        confidence=thought.confidence,
        trials=len(thought.trials),
        strategy=thought.strategy,
        receipt=thought.receipt,
        of_the_run=ctx.receipt,
    )


@app.workflow(budget=Budget(tokens=700, on_exhausted="finish"))
async def solved_cheaply(ctx: RunContext, puzzle: Puzzle) -> Solved:
    """One thought in a run that has little to spend."""
    return await _solve(ctx, puzzle)


@app.workflow(budget=Budget(tokens=700))
async def solved_or_not(ctx: RunContext, puzzle: Puzzle) -> Solved:
    """One thought in a run that fails when it has spent what it had."""
    return await _solve(ctx, puzzle)


@app.workflow()
async def published(ctx: RunContext, puzzle: Puzzle) -> int:
    """Offers a tool that can't be taken back to branches that may be thrown away."""
    chat = ctx.transcript(tools=[publish])
    thought = await ctx.think(
        puzzle.question, strategy=puzzle.strategy, output=int, extract=last_integer, transcript=chat
    )
    return thought.value


class Items(BaseModel):
    names: list[str]
    parallel: int = 2


@app.workflow()
async def mapped(ctx: RunContext, items: Items) -> list[str]:
    """A reply for each of many items."""

    async def one(name: str) -> str:
        return (await ctx.transcript(system=name).generate("Go.", max_tokens=40)).text

    return list(await ctx.map(one, items.names, parallel=items.parallel))
