"""An app that needs no engine. Importable by name, as Temporal's sandbox needs."""

import asyncio
from decimal import Decimal

from pydantic import BaseModel

from orchestrator import Budget, Orchestrator, RunContext, ToolContext

app = Orchestrator("arithmetic")


class Numbers(BaseModel):
    first: int
    second: int = 1


class Sum(BaseModel):
    total: int


@app.tool(effect="read")
async def add(ctx: ToolContext, a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@app.workflow(budget=Budget(usd=Decimal("0.05")))
async def add_up(ctx: RunContext, numbers: Numbers) -> Sum:
    """Add numbers up.

    Three times, to take several steps.
    """
    total = 0
    for _ in range(3):
        total = await ctx.call(add, total, numbers.first + numbers.second)
    return Sum(total=total)


@app.workflow()
async def wait_long(ctx: RunContext, hours: int) -> str:
    """Take one step, then wait."""
    await ctx.call(add, hours, 1)
    await asyncio.sleep(hours * 3600)
    return "waited"


@app.workflow()
async def fail(ctx: RunContext, why: str) -> str:
    """Fail."""
    raise ValueError(why)
