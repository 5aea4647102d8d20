"""Workflows that use every tool that is granted something. Importable by name, as Temporal's sandbox needs."""

from orchestrator import Orchestrator, RunContext
from orchestrator_tools import files, http_get, python

FILES = files("granted", write=True)
"""Of a folder beneath the one in which the workers run."""
PAGES = http_get(allow=["*"])

app = Orchestrator("granted", tools=[python, PAGES, *FILES], passthrough=["orchestrator_tools"])


@app.workflow(grants=["write_file"])
async def loop(ctx: RunContext, question: str) -> str:
    """Ask with all tools at hand."""
    return await ctx.transcript(system="Use the tools.", tools=[python, PAGES, *FILES]).ask(question)


@app.workflow()
async def check(ctx: RunContext, program: str) -> str:
    """Run a program with its test, and say what came of it."""
    result = await ctx.call(python, f"{program}\nassert double(2) == 4\n'passed'")
    return str(result.error) if result.error else f"{result.value}"
