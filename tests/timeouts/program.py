"""Tools that take their time. Importable by name, as Temporal's sandbox and worker processes need."""

import asyncio
import time
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from typing import Any

from orchestrator import Orchestrator, RunContext, ToolContext

app = Orchestrator("timeouts")

ended: Counter[str] = Counter()
"""How calls ended, as the tools themselves saw it."""


async def _wait(seconds: float) -> None:
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        ended["cancelled"] += 1
        raise
    ended["well"] += 1


@app.tool(effect="read", timeout=timedelta(seconds=1), price=Decimal("0.001"))
async def hanging(ctx: ToolContext) -> str:
    """Never returns."""
    await _wait(3600)
    return ""


@app.tool(effect="write", timeout=timedelta(seconds=1), price=Decimal("0.001"))
async def hanging_write(ctx: ToolContext) -> str:
    """Never returns, and must not be called again."""
    await _wait(3600)
    return ""


@app.tool(effect="read", price=Decimal("0.001"))
async def long(ctx: ToolContext, seconds: float = 3600) -> str:
    """Takes long, and says nothing meanwhile."""
    await _wait(seconds)
    return "done"


@app.tool(effect="write", price=Decimal("0.001"))
async def blocking(ctx: ToolContext) -> str:
    """Holds up everything that its worker does."""
    time.sleep(3600)  # noqa: ASYNC251 - it hangs on purpose
    return ""


@app.workflow()
async def call(ctx: RunContext, name: str) -> Any:
    """Calls a tool by name."""
    tools = {tool.name: tool for tool in app.tools}
    return await ctx.call(tools[name])


@app.workflow()
async def call_long(ctx: RunContext, seconds: float) -> str:
    """Calls a tool that takes so long."""
    return await ctx.call(long, seconds)
