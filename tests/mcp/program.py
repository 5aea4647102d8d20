"""Workflows that use the tools of servers. Importable by name, as Temporal's sandbox and worker processes need."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from pydantic import BaseModel
from temporalio import workflow

from orchestrator import FromEnvironment, MCPServer, Orchestrator, RunContext, ToolContext

TICKETS = ("python", "tests/mcp/tickets.py")
ENVIRONMENT = {
    "TICKETS_FOLDER": FromEnvironment("TICKETS_FOLDER"),
    "TICKETS_TOKEN": FromEnvironment("TICKETS_TOKEN"),
}

app = Orchestrator(
    "tickets",
    servers=[
        MCPServer(
            "tickets",
            command=TICKETS,
            env=ENVIRONMENT,
            effects={"slow": "read", "huge": "read", "fail": "read", "crash": "read", "picture": "read"},
            trust_annotations=True,
            approval="grant",
            timeout=timedelta(seconds=20),
            max_result=20_000,
            price=Decimal("0.003"),
        ),
        MCPServer("wary", command=TICKETS, env=ENVIRONMENT, include=["create", "crash"], approval="refuse"),
        MCPServer(
            "hasty",
            command=TICKETS,
            env=ENVIRONMENT,
            effects={"find": "read", "slow": "idempotent"},
            timeout=timedelta(seconds=1),
            start_timeout=timedelta(seconds=20),
        ),
        MCPServer("missing", command=("tests/mcp/no-such-program", "--fast")),
    ],
)


class Call(BaseModel):
    server: str = "tickets"
    tool: str
    arguments: dict[str, Any] = {}


@app.tool(effect="read")
async def tickets_find(ctx: ToolContext) -> str:
    """Has the name that a server's tool would get."""
    return "not the server's"


@app.workflow()
async def help_out(ctx: RunContext, question: str) -> str:
    """A model with the tools of a server, and one of the app's own."""
    tools = await ctx.tools("tickets")
    return await ctx.transcript(system="Use the tools.", tools=[tickets_find, *tools]).ask(question, max_steps=4)


@app.workflow()
async def ask_wary(ctx: RunContext, question: str) -> str:
    """A model with tools that it may not call."""
    return await ctx.transcript().ask(question, tools=await ctx.tools("wary"))


@app.workflow()
async def call(ctx: RunContext, wanted: Call) -> Any:
    """Calls a tool."""
    tools = await ctx.tools(wanted.server)
    return await ctx.call(tools.named(wanted.tool), **wanted.arguments)


@app.workflow()
async def names(ctx: RunContext, server: str) -> list[str]:
    """The tools of a server."""
    return [tool.listed.name for tool in await ctx.tools(server)]


@app.workflow()
async def look_twice(ctx: RunContext, goes_on: bool) -> list[list[str]]:
    """The tools before and after the server changed; or those of a run that went on."""
    before = await ctx.tools("tickets")
    if goes_on and workflow.info().continued_run_id:
        return [[tool.listed.name for tool in before]]
    await ctx.call(before.named("change"))
    if goes_on:
        workflow.continue_as_new(goes_on)
    after = await ctx.tools("tickets")
    return [[tool.listed.name for tool in tools] for tools in (before, after)]
