"""A workflow that pays for more than it keeps. Importable by name, as Temporal's sandbox needs."""

from orchestrator import Orchestrator, RunContext

app = Orchestrator("choosing")


@app.workflow()
async def choose(ctx: RunContext, prompt: str) -> str:
    """Two replies, of which the first is thrown away."""
    first = await ctx.transcript().generate(prompt, max_tokens=32)
    second = await ctx.transcript().generate(prompt, max_tokens=32)
    await ctx.discard(first)
    return second.text
