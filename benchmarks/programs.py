"""The workflows of ours that the benchmarks run."""

from pydantic import BaseModel

from orchestrator import Orchestrator, RunContext, ToolContext

__all__ = ["Loop", "app", "generate_steps", "read_page", "tool_loop", "tool_steps"]

app = Orchestrator("benchmarks")


class Loop(BaseModel):
    steps: int


@app.tool(effect="read")
async def no_op(ctx: ToolContext) -> None:
    """Do nothing."""


@app.tool(effect="read")
async def read_page(ctx: ToolContext, number: int, size: int) -> str:
    """Read a page of some size."""
    words = f"page {number} says that item {number * 7919 % 1000} is blue. "
    return (words * (size // len(words) + 1))[:size]


@app.workflow()
async def tool_steps(ctx: RunContext, steps: int) -> int:
    """Steps that do nothing, each reserved and settled in the ledger."""
    for _ in range(steps):
        await ctx.call(no_op)
    return steps


@app.workflow()
async def generate_steps(ctx: RunContext, steps: int) -> int:
    """Engine calls, each of one token, in a conversation of its own."""
    for _ in range(steps):
        await ctx.transcript(system="Be brief.").generate("Go on.", max_tokens=1)
    return steps


@app.workflow()
async def tool_loop(ctx: RunContext, loop: Loop) -> str:
    """A model that reads pages until it has had enough."""
    chat = ctx.transcript(system="Use the tools.", tools=[read_page])
    return await chat.ask("What is blue?", max_steps=loop.steps + 1, max_tokens=64)
