"""Workflows and tools that the tests run. Importable by name, as Temporal's sandbox and worker processes need."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

from pydantic import BaseModel
from temporalio import workflow

from orchestrator import Budget, Orchestrator, Receipt, RunContext, ToolContext
from orchestrator_tools import calculator

app = Orchestrator("programs", tools=[calculator], passthrough=["orchestrator_tools", "simpleeval"])


class Loop(BaseModel):
    steps: int = 10
    max_tokens: int = 64


class Report(BaseModel):
    text: str
    receipt: Receipt


class Fact(BaseModel):
    name: str
    value: int


@app.tool(effect="read")
async def read_page(ctx: ToolContext, number: int, size: int = 100) -> str:
    """Read a page.

    Args:
        number: which one
        size: its length in characters
    """
    words = f"page {number} says that item {number * 7919 % 1000} is blue. "
    return (words * (size // len(words) + 1))[:size]


@app.tool(effect="read")
async def broken(ctx: ToolContext) -> str:
    """Always raises."""
    raise RuntimeError("the disk is on fire")


@app.tool(effect="read", timeout=timedelta(seconds=1))
async def hanging(ctx: ToolContext) -> str:
    """Never returns."""
    await asyncio.sleep(3600)
    return ""


@app.tool(effect="read")
async def huge(ctx: ToolContext) -> str:
    """Returns 10 MB."""
    return "x" * 10_000_000


@app.tool(effect="read")
async def unserializable(ctx: ToolContext) -> Any:
    """Returns what is no JSON."""
    return object()


@app.tool(effect="write")
async def write_once(ctx: ToolContext) -> str:
    """Says by which key it wrote."""
    return ctx.idempotency_key


@app.workflow()
async def think(ctx: RunContext, prompt: str) -> Report:
    """One reply."""
    reply = await ctx.transcript(system="Be brief.").generate(prompt, max_tokens=256)
    return Report(text=reply.text, receipt=ctx.receipt)


@app.workflow()
async def converse(ctx: RunContext, loop: Loop) -> Report:
    """Several replies in one conversation."""
    chat = ctx.transcript(system="Be brief.")
    text = ""
    for step in range(loop.steps):
        text = (await chat.generate(f"Go on with {step}.", max_tokens=loop.max_tokens)).text
    return Report(text=text, receipt=ctx.receipt)


@app.workflow()
async def tool_loop(ctx: RunContext, loop: Loop) -> Report:
    """Asks with tools until the model has had enough."""
    chat = ctx.transcript(system="Use the tools.", tools=[read_page, calculator])
    text = await chat.ask("What is blue?", max_steps=loop.steps, max_tokens=loop.max_tokens)
    return Report(text=text, receipt=ctx.receipt)


@app.workflow()
async def required_calls(ctx: RunContext, loop: Loop) -> list[int]:
    """Each reply must be a call; the cached tokens of each reply's prompt, preceded by the least they must be."""
    chat = ctx.transcript(system="Use the tools.", tools=[read_page])
    chat.say("Read some pages.")
    figures: list[int] = []
    before = 0
    for step in range(loop.steps):
        reply = await chat.generate(tool_choice="required", max_tokens=loop.max_tokens)
        usage = reply.receipt.usage
        figures += [before, usage.cached or 0]
        before = (usage.prompt or 0) + (usage.output or 0)
        chat.say(f"That was page {step}. Read another one.")
    return figures


@app.workflow()
async def state_fact(ctx: RunContext, prompt: str) -> Fact:
    """A structured reply."""
    return await ctx.transcript().ask(prompt, output=Fact, max_tokens=64)


@app.workflow()
async def state_fact_with_tools(ctx: RunContext, prompt: str) -> Fact:
    """A structured reply after tools."""
    return await ctx.transcript(tools=[read_page, broken, hanging, huge]).ask(prompt, output=Fact, max_tokens=64)


@app.workflow()
async def branches(ctx: RunContext, count: int) -> list[str]:
    """Forks of one conversation, side by side."""
    trunk = ctx.transcript(system="Be brief.")
    await trunk.generate("Begin.", max_tokens=16)
    forks = [trunk.fork() for _ in range(count)]
    replies = await asyncio.gather(*(fork.generate(f"Branch {n}.", max_tokens=16) for n, fork in enumerate(forks)))
    return [reply.text for reply in replies]


@app.workflow(budget=Budget(usd=Decimal("0.000010"), tokens=100_000))
async def thrifty(ctx: RunContext, count: int) -> list[str]:
    """More parallel branches than the budget allows."""
    chats = [ctx.transcript(system="Be brief.") for _ in range(count)]
    results = await asyncio.gather(
        *(chat.generate(f"Branch {n}.", max_tokens=20) for n, chat in enumerate(chats)), return_exceptions=True
    )
    return [type(result).__name__ for result in results]


@app.workflow()
async def call_one(ctx: RunContext, name: str) -> Any:
    """Calls a tool by name."""
    tools = {tool.name: tool for tool in app.tools}
    return await ctx.call(tools[name])


@app.workflow()
async def look_up(ctx: RunContext, collection: str) -> list[str]:
    """Passages of a collection."""
    return [passage.id for passage in await ctx.retrieve(collection, "anything")]


@app.workflow()
async def unserializable_result(ctx: RunContext, value: str) -> Any:
    """Returns what is no JSON."""
    return object()


@app.workflow()
async def enormous_result(ctx: RunContext, size: int) -> str:
    """Returns more than a payload holds."""
    return "x" * size


@app.workflow()
async def buggy(ctx: RunContext, value: str) -> str:
    """Has a bug."""
    return {"a": 1}[value]  # type: ignore[return-value]


@app.workflow()
async def nobodys_tool(ctx: RunContext, value: str) -> str:
    """Calls a tool that its app doesn't have."""
    return await ctx.call(other_tool)


other = Orchestrator("other")


@other.tool(effect="read")
async def other_tool(ctx: ToolContext) -> str:
    """Of another app."""
    return "other"


@workflow.defn
class PlainClass:
    """A plain Temporal workflow that uses the context."""

    orchestrator_app = app
    orchestrator_budget = Budget(tokens=10_000)

    @workflow.run
    async def run(self, prompt: str) -> str:
        """One tool call and one reply."""
        ctx = RunContext.current()
        page = await ctx.call(read_page, 3, size=40)
        return (await ctx.transcript(system=page).generate(prompt, max_tokens=16)).text


class Spend(BaseModel):
    steps: int = 3
    max_tokens: int = 20


def one_reply_a_step(value: Spend, result: list[str]) -> bool:
    """The check of `parent`."""
    return len(result) == value.steps


@app.workflow(version="2", check=one_reply_a_step)
async def parent(ctx: RunContext, value: Spend) -> list[str]:
    """A reply of its own, then children side by side."""
    await ctx.transcript(system="Be brief.").generate("Begin.", max_tokens=value.max_tokens)
    children = (ctx.child(child, Spend(steps=1, max_tokens=value.max_tokens)) for _ in range(value.steps))
    return list(await asyncio.gather(*children))


@app.workflow()
async def child(ctx: RunContext, value: Spend) -> str:
    """Some replies."""
    chat = ctx.transcript(system="Be brief.")
    text = ""
    for step in range(value.steps):
        text = (await chat.generate(f"Step {step}.", max_tokens=value.max_tokens)).text
    return text


@app.workflow(budget=Budget(tokens=400))
async def bounded_parent(ctx: RunContext, value: Spend) -> list[str]:
    """Children that share what the parent may spend; what became of each."""
    children = (ctx.child(child, value) for _ in range(4))
    results = await asyncio.gather(*children, return_exceptions=True)
    return [type(result).__name__ for result in results]


@app.workflow()
async def strict_parent(ctx: RunContext, value: Spend) -> str:
    """A child with a budget of its own."""
    return await ctx.child(child, value, budget=Budget(calls=2))


@app.workflow(budget=Budget(tokens=600, reserve_for_answer=Decimal("0.3"), on_exhausted="finish"))
async def finishing(ctx: RunContext, value: Spend) -> str:
    """Reads pages until the budget for it is used up; then answers."""
    return await ctx.transcript(tools=[read_page]).ask("What is blue?", max_steps=50, max_tokens=value.max_tokens)


@app.workflow(budget=Budget(tokens=90, on_exhausted="pause"))
async def pausing(ctx: RunContext, value: Spend) -> list[str]:
    """Waits for a top-up where a step doesn't fit."""
    chats = [ctx.transcript(system="Be brief.") for _ in range(value.steps)]
    return [(await chat.generate("Go on.", max_tokens=value.max_tokens)).text for chat in chats]


@app.workflow(budget=Budget(calls=2))
async def failing(ctx: RunContext, value: Spend) -> str:
    """Fails where a step doesn't fit."""
    chat = ctx.transcript(system="Be brief.")
    text = ""
    for step in range(value.steps):
        text = (await chat.generate(f"Step {step}.", max_tokens=value.max_tokens)).text
    return text


@app.workflow(budget=Budget(wall=timedelta(seconds=2)))
async def hurried(ctx: RunContext, prompt: str) -> str:
    """Has two seconds."""
    return (await ctx.transcript().generate(prompt, max_tokens=20)).text


@app.workflow(budget=Budget(wall=timedelta(seconds=2), on_exhausted="pause"))
async def patient(ctx: RunContext, value: Spend) -> list[str]:
    """Has two seconds, and sleeps through them."""
    await asyncio.sleep(3)
    return [(await ctx.transcript().generate("Go on.", max_tokens=value.max_tokens)).text]


@app.workflow(budget=Budget(tokens=1_000))
async def relay(ctx: RunContext, value: Spend) -> str:
    """One reply a run; goes on as a new run until the steps are done."""
    reply = await ctx.transcript().generate(f"{value.steps} to go.", max_tokens=value.max_tokens)
    if value.steps > 1:
        workflow.continue_as_new(Spend(steps=value.steps - 1, max_tokens=value.max_tokens))
    return f"{reply.text}, {ctx.receipt.steps} steps"


@app.workflow()
async def choosy(ctx: RunContext, count: int) -> str:
    """Several replies, of which the last one wins."""
    chats = [ctx.transcript() for _ in range(count)]
    replies = await asyncio.gather(*(chat.generate("Answer.", max_tokens=20) for chat in chats))
    await ctx.discard(*replies[:-1])
    return f"{replies[-1].text}, waste {ctx.receipt.waste:f}"


@app.tool(effect="read", price=Decimal("0.005"))
async def priced(ctx: ToolContext) -> str:
    """Costs half a cent."""
    return "found"


@app.workflow()
async def gamble(ctx: RunContext, number: int) -> str:
    """Three forks of a conversation race; the losers are cancelled, and the winner goes on, with a tool between."""
    trunk = ctx.transcript(system=f"This is run {number}.")
    await trunk.generate("Begin.", max_tokens=80)
    forks = [trunk.fork() for _ in range(3)]
    races = [asyncio.ensure_future(fork.generate(f"Branch {n}.", max_tokens=80)) for n, fork in enumerate(forks)]
    done, _ = await workflow.wait(races, return_when=asyncio.FIRST_COMPLETED)
    for race in races:
        race.cancel()
    await asyncio.gather(*races, return_exceptions=True)
    winner = next(fork for fork, race in zip(forks, races, strict=True) if race in done)
    await ctx.call(priced)
    return (await winner.generate("Now answer.", max_tokens=80)).text
