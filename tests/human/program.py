"""Workflows that ask people. Importable by name, as Temporal's sandbox needs."""

import asyncio
from datetime import timedelta
from typing import Any, Literal

from pydantic import BaseModel, model_validator
from temporalio import workflow

from orchestrator import Approvals, Budget, Orchestrator, RunContext, ToolContext
from orchestrator.errors import HumanTimedOut

app = Orchestrator("people")
strict = Orchestrator("strict", approvals=Approvals(read="ask", to="security", timeout=timedelta(seconds=1)))


class Account(BaseModel):
    name: str
    number: int

    @model_validator(mode="after")
    def _is_real(self) -> "Account":
        if self.number == 13:
            raise KeyError("there is no account 13")
        return self


class Ask(BaseModel):
    seconds: float | None = None
    """How long people have."""
    default: bool = False


@app.workflow()
async def choose(ctx: RunContext, accounts: list[str]) -> str:
    """Ask for one of several accounts."""
    return await ctx.ask_human("Which account?", choices=accounts, to="billing")


@app.workflow()
async def ask_all_kinds(ctx: RunContext, value: str) -> list[Any]:
    """Ask four questions at once."""
    name, sure, colour, account = await asyncio.gather(
        ctx.ask_human("What is it called?"),
        ctx.ask_human("Are you sure?", output=bool, to="billing"),
        ctx.ask_human("Which colour?", output=Literal["red", "blue"]),
        ctx.ask_human("Which account?", output=Account),
    )
    return [name, sure, colour, account.number]


@app.workflow()
async def ask_in_time(ctx: RunContext, ask: Ask) -> str:
    """Ask, and go on without an answer after a while."""
    timeout = None if ask.seconds is None else timedelta(seconds=ask.seconds)
    if timeout is not None and ask.default:
        answer = await ctx.ask_human("Go on?", output=bool, timeout=timeout, default=None)
        return f"default {answer}"
    try:
        return f"answer {await ctx.ask_human('Go on?', output=bool, timeout=timeout)}"
    except HumanTimedOut:
        await ctx.ask_human("Why not?")
        raise


@app.workflow()
async def ask_badly(ctx: RunContext, how: str) -> str:
    """Ask what can't be asked."""
    match how:
        case "empty":
            return await ctx.ask_human("  ")
        case "no choices":
            return await ctx.ask_human("Which?", choices=[])
        case "wrong choice":
            return str(await ctx.ask_human("Which?", output=int, choices=["one"]))  # type: ignore[list-item]
        case "no schema":
            return await ctx.ask_human("Which?", output=object())
        case "no time":
            return await ctx.ask_human("Which?", timeout=timedelta(0))
        case "large choices":
            return await ctx.ask_human("Which?", choices=["x" * 200_000])
        case "useless default":
            return await ctx.ask_human("Which?", output=str, default="x")  # type: ignore[call-overload]
        case _:
            return await ctx.ask_human("Which?", to="x" * 101)


@app.workflow()
async def ask_many(ctx: RunContext, count: int) -> int:
    """Ask more at once than may stand open."""
    answers = await asyncio.gather(*(ctx.ask_human(f"Number {n}?", output=int) for n in range(count)))
    return sum(answers)


@app.workflow()
async def ask_at_large(ctx: RunContext, count: int) -> int:
    """Ask questions with long choices."""
    drafts = [letter * 50_000 for letter in "ab"]
    answers = await asyncio.gather(*(ctx.ask_human(f"Draft {n}?", choices=drafts) for n in range(count)))
    return len(answers)


@app.workflow()
async def ask_long(ctx: RunContext, size: int) -> str:
    """Ask at length."""
    return await ctx.ask_human("x" * size)


@app.workflow(budget=Budget(wall=timedelta(seconds=4)))
async def hurry(ctx: RunContext, value: str) -> str:
    """Ask, with a budget of time that thinking people would use up; then take a step."""
    await ctx.ask_human("Ready?")
    return await ctx.call(look, 1)


@app.workflow()
async def race(ctx: RunContext, value: str) -> str:
    """Ask twice, and take back the question that wasn't answered first."""
    asked = [asyncio.ensure_future(ctx.ask_human(f"Question {n}?")) for n in range(2)]
    done, _ = await workflow.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    for each in asked:
        each.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    await ctx.ask_human("Anything else?")
    return (await done.pop()).strip()


@app.workflow()
async def relay(ctx: RunContext, left: int) -> str:
    """Ask in a branch that is left alone, and go on as a new run; the last one sleeps."""
    if left:
        branch = asyncio.ensure_future(ctx.ask_human(f"{left} left?"))
        await ctx.call(look, left)
        if left > 1:
            await branch
        workflow.continue_as_new(left - 1)
    await asyncio.sleep(3600)
    return "slept"


@app.workflow()
async def leave_open(ctx: RunContext, page: int) -> str:
    """Ask in a branch that is left alone, and end."""
    branch = asyncio.ensure_future(ctx.ask_human("Anybody there?"))
    found = await ctx.call(look, page)
    return found if not branch.done() else await branch


@app.workflow()
async def delegate(ctx: RunContext, accounts: list[str]) -> str:
    """Let another run ask."""
    return await ctx.child(choose, accounts)


@app.tool(effect="read")
async def look(ctx: ToolContext, page: int) -> str:
    """Look something up."""
    return f"page {page}"


@app.tool(effect="write")
async def refund(ctx: ToolContext, order: str, dollars: int) -> str:
    """Refund an order.

    In full or in part.
    """
    return f"refunded {dollars} for {order}"


@app.tool(effect="write", approval="grant")
async def note(ctx: ToolContext, text: str) -> str:
    """Write a note."""
    return "noted"


@app.tool(effect="idempotent", approval="refuse")
async def delete(ctx: ToolContext, order: str) -> str:
    """Delete an order."""
    return "deleted"


TOOLS = (look, refund, note, delete)


@app.workflow()
async def serve(ctx: RunContext, wish: str) -> str:
    """Let the model use tools."""
    return await ctx.transcript(tools=TOOLS).ask(wish, max_tokens=2_000)


@app.workflow(grants=["refund"])
async def serve_freely(ctx: RunContext, wish: str) -> str:
    """Let the model refund."""
    return await ctx.transcript(tools=TOOLS).ask(wish, max_tokens=2_000)


@app.workflow()
async def serve_below(ctx: RunContext, wish: str) -> list[str]:
    """Let the model of this run, then that of another one use tools."""
    return [await ctx.transcript(tools=TOOLS).ask(wish, max_tokens=2_000), await ctx.child(serve, wish)]


@app.workflow(grants=[refund])
async def freely_then_below(ctx: RunContext, wish: str) -> list[str]:
    """Let the model refund, then that of another run ask."""
    return [await ctx.transcript(tools=TOOLS).ask(wish, max_tokens=2_000), await ctx.child(serve, wish)]


@app.workflow()
async def refund_myself(ctx: RunContext, order: str) -> str:
    """Refund without a model."""
    return await ctx.call(refund, order, 5)


@strict.tool(effect="read")
async def peek(ctx: ToolContext, page: int) -> str:
    """Look at a secret."""
    return f"secret {page}"


@strict.workflow()
async def spy(ctx: RunContext, wish: str) -> str:
    """Let the model read secrets."""
    return await ctx.transcript(tools=[peek]).ask(wish, max_tokens=2_000)
