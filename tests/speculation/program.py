"""Workflows whose tools say what they will be called with. Importable by name, as Temporal's sandbox needs."""

import asyncio
import re
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from orchestrator import Approvals, Budget, Orchestrator, Receipt, RunContext, Said, ToolContext
from orchestrator.extracting import last_integer
from orchestrator.strategies import Vote

calls: Counter[str] = Counter()
"""How often each call was really begun."""

ended: Counter[str] = Counter()
"""How calls ended that wait for `gate`."""

gate = asyncio.Event()

app = Orchestrator("speculation")
careful = Orchestrator("careful", approvals=Approvals(read="ask"))


class Told(BaseModel):
    text: str
    receipt: Receipt


def the_order(said: Said) -> Mapping[str, Any] | None:
    """The order that the question names, unless it was looked up."""
    named = re.search(r"order (\w+)", said.question)
    return None if named is None or said.calls else {"order_id": named[1], "tags": {"c", "b", "a"}}


def the_next_page(said: Said) -> Mapping[str, Any] | None:
    """The page after the last one."""
    read = [int(called.arguments.split(":")[1].strip(" }")) for called in said.calls if called.tool == "page"]
    if "page" not in said.question:
        return None
    assert all(called.result == f"page {number}" for called, number in zip(said.calls, read, strict=True))
    return {"number": max(read, default=0) + 1}


def a_bug(said: Said) -> Mapping[str, Any] | None:
    """Raises where a question is about bugs, and returns nonsense where it is about nonsense."""
    if "bug" in said.question:
        raise KeyError("order")
    return "nonsense" if "nonsense" in said.question else None  # type: ignore[return-value] # pyright: ignore[reportReturnType]


@app.tool(effect="read", price=Decimal("0.005"), predict=the_order)
async def find_order(ctx: ToolContext, order_id: str, tags: frozenset[str] = frozenset()) -> str:
    """Look up an order."""
    calls[f"order {order_id}"] += 1
    return f"order {order_id} is on its way"


@app.tool(
    effect="read", price=Decimal("0.005"), predict=lambda said: {"what": "it"} if "wait" in said.question else None
)
async def wait_for(ctx: ToolContext, what: str) -> str:
    """Waits for the gate."""
    calls[f"wait for {what}"] += 1
    try:
        await gate.wait()
    except asyncio.CancelledError:
        ended["cancelled"] += 1
        raise
    ended["well"] += 1
    return f"{what} is here"


@app.tool(effect="read", predict=the_next_page)
async def page(ctx: ToolContext, number: int) -> str:
    """Read a page."""
    calls[f"page {number}"] += 1
    return f"page {number}"


@app.tool(effect="read", predict=lambda said: {} if "break" in said.question else None)
async def broken(ctx: ToolContext) -> str:
    """Always raises."""
    calls["broken"] += 1
    raise RuntimeError("the disk is on fire")


@app.tool(effect="read", predict=a_bug)
async def buggy(ctx: ToolContext) -> str:
    """Can't be predicted."""
    return ""


TOOLS = [find_order, wait_for, page, broken, buggy]


async def _answer(ctx: RunContext, question: str) -> Told:
    chat = ctx.transcript(tools=TOOLS)
    text = await chat.ask(question, max_tokens=64)
    return Told(text=text, receipt=ctx.receipt)


@app.workflow()
async def answer(ctx: RunContext, question: str) -> Told:
    """Answers with tools."""
    return await _answer(ctx, question)


@app.workflow(budget=Budget(usd=Decimal("0.049")))
async def poor(ctx: RunContext, question: str) -> Told:
    """Has less than ten times what a call of a priced tool costs."""
    return await _answer(ctx, question)


@app.workflow(budget=Budget(usd=Decimal("0.051")))
async def rich(ctx: RunContext, question: str) -> Told:
    """Has more than that."""
    return await _answer(ctx, question)


@app.workflow()
async def voted(ctx: RunContext, question: str) -> Told:
    """Drafts that each use the tools."""
    thought = await ctx.think(
        question,
        strategy=Vote(at_most=3, confidence=None),
        output=int,
        extract=last_integer,
        transcript=ctx.transcript(tools=TOOLS),
        max_tokens=64,
    )
    return Told(text=str(thought.value), receipt=ctx.receipt)


@careful.tool(effect="read", predict=lambda said: {"order_id": "A1"})
async def find_with_care(ctx: ToolContext, order_id: str) -> str:
    """A person is asked first."""
    calls["careful"] += 1
    return "found"


@careful.workflow()
async def answer_with_care(ctx: RunContext, question: str) -> str:
    """Answers without the tool."""
    return await ctx.transcript(tools=[find_with_care]).ask(question, max_tokens=64)
