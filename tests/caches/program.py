"""Workflows whose results are kept. Importable by name, as Temporal's sandbox needs."""

import asyncio
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from orchestrator import Budget, Orchestrator, Receipt, RunContext, Tool, ToolContext
from orchestrator.extracting import last_integer
from orchestrator.strategies import Vote

HOUR = timedelta(hours=1)

calls: Counter[str] = Counter()
"""How often each tool was really called, by name."""

gate = asyncio.Event()
"""What `slow` waits for."""

app = Orchestrator("caches")
elsewhere = Orchestrator("elsewhere")


class Told(BaseModel):
    results: list[Any]
    receipt: Receipt


class Ask(BaseModel):
    prompt: str = "What is blue?"
    temperature: float = 0.0
    seed: int | None = None
    max_tokens: int = 32
    seconds: float | None = 3600
    """How old a kept reply may be; `None` as the workflow says."""
    times: int = 1


@app.tool(effect="read", cache=HOUR, price=Decimal("0.005"))
async def weigh(ctx: ToolContext, what: str, grams: bool = True) -> dict[str, Any]:
    """Weigh something."""
    calls["weigh"] += 1
    return {"what": what, "weight": calls["weigh"], "grams": grams}


@app.tool(effect="read", cache=HOUR)
async def page(ctx: ToolContext, number: int) -> str:
    """Read a page that is long."""
    calls["page"] += 1
    return f"page {number}, read for the {calls['page']}. time. " + "It goes on. " * 60


@app.tool(effect="read", cache=HOUR)
async def slow(ctx: ToolContext) -> str:
    """Takes until the gate is opened."""
    calls["slow"] += 1
    await gate.wait()
    return f"done {calls['slow']}"


@app.tool(effect="read", cache=HOUR)
async def moody(ctx: ToolContext) -> str:
    """Fails the first time."""
    calls["moody"] += 1
    if calls["moody"] == 1:
        raise RuntimeError("not now")
    return f"in a better mood at the {calls['moody']}. time"


@app.tool(effect="read", cache=timedelta(milliseconds=1))
async def fleeting(ctx: ToolContext) -> int:
    """Is kept for next to no time."""
    calls["fleeting"] += 1
    return calls["fleeting"]


@app.tool(effect="read", price=Decimal("0.005"))
async def plain(ctx: ToolContext) -> int:
    """Is not kept."""
    calls["plain"] += 1
    return calls["plain"]


@app.workflow()
async def weighed(ctx: RunContext, what: list[str]) -> Told:
    """Weighs things, one after the other."""
    return Told(results=[await ctx.call(weigh, each) for each in what], receipt=ctx.receipt)


@app.workflow()
async def called(ctx: RunContext, name: str) -> Told:
    """Calls a tool that takes nothing."""
    tools = {tool.name: tool for tool in app.tools}
    return Told(results=[await ctx.call(tools[name])], receipt=ctx.receipt)


@app.workflow()
async def read_aloud(ctx: RunContext, question: str) -> Told:
    """The model calls tools."""
    chat = ctx.transcript(tools=[page, weigh])
    return Told(results=[await chat.ask(question, max_tokens=64)], receipt=ctx.receipt)


async def _asked(ctx: RunContext, ask: Ask) -> Told:
    texts: list[str] = []
    cache = None if ask.seconds is None else timedelta(seconds=ask.seconds)
    for _ in range(ask.times):
        chat = ctx.transcript(system="Be brief.")
        reply = await chat.generate(
            ask.prompt, max_tokens=ask.max_tokens, temperature=ask.temperature, seed=ask.seed, cache=cache
        )
        texts.append(reply.text)
    return Told(results=texts, receipt=ctx.receipt)


@app.workflow()
async def asked(ctx: RunContext, ask: Ask) -> Told:
    """The same question, in so many conversations."""
    return await _asked(ctx, ask)


@app.workflow(cache=HOUR)
async def kept(ctx: RunContext, ask: Ask) -> Told:
    """The same, of a workflow whose replies are kept."""
    return await _asked(ctx, ask)


@app.workflow(budget=Budget(calls=1), cache=HOUR)
async def bounded(ctx: RunContext, ask: Ask) -> Told:
    """The same, with one call of an engine at most."""
    return await _asked(ctx, ask)


@app.workflow(cache=HOUR)
async def conversation(ctx: RunContext, steps: int) -> Told:
    """Several replies in one conversation, with a tool between."""
    chat = ctx.transcript(system="Be brief.", tools=[page])
    texts = [await chat.ask(f"Go on with {step}.", max_tokens=64) for step in range(steps)]
    return Told(results=list(texts), receipt=ctx.receipt)


@app.workflow(cache=HOUR)
async def voted(ctx: RunContext, seed: int | None) -> Told:
    """A vote."""
    thought = await ctx.think(
        "What is six times seven?",
        strategy=Vote(at_most=3, confidence=None),
        output=int,
        extract=last_integer,
        seed=seed,
        max_tokens=32,
    )
    return Told(results=[thought.value, len(thought.trials)], receipt=ctx.receipt)


@app.workflow()
async def side_by_side(ctx: RunContext, count: int) -> Told:
    """The same question and the same call, all at once."""
    chats = [ctx.transcript(system="Be brief.") for _ in range(count)]
    replies = await asyncio.gather(
        *(chat.generate("All at once?", max_tokens=32, cache=HOUR) for chat in chats),
        *(ctx.call(weigh, "a feather") for _ in range(count)),
    )
    return Told(results=[str(each) for each in replies], receipt=ctx.receipt)


def _another_apps_weigh() -> Tool[..., Any]:
    @elsewhere.tool(effect="read", cache=HOUR, price=Decimal("0.005"))
    async def weigh(ctx: ToolContext, what: str, grams: bool = True) -> dict[str, Any]:
        """Weigh something."""
        calls["another weigh"] += 1
        return {"what": what, "weight": -1, "grams": grams}

    return weigh


another_weigh = _another_apps_weigh()


@elsewhere.workflow()
async def weighed_elsewhere(ctx: RunContext, what: str) -> Told:
    """Weighs by a tool of the same name and schema, which does something else."""
    return Told(results=[await ctx.call(another_weigh, what)], receipt=ctx.receipt)
