"""A workflow that uses the tools of a service. Imported once `TICKETS_URL` is set."""

import os
from typing import Any

from pydantic import BaseModel

from orchestrator import FromEnvironment, MCPServer, Orchestrator, RunContext

app = Orchestrator(
    "tickets-http",
    servers=[
        MCPServer(
            "service",
            url=os.environ["TICKETS_URL"],
            headers={"Authorization": FromEnvironment("TICKETS_TOKEN", prefix="Bearer ")},
            effects={"find": "read"},
        )
    ],
)


class Find(BaseModel):
    number: int


@app.workflow()
async def find(ctx: RunContext, wanted: Find) -> Any:
    """Calls a tool of the service."""
    tools = await ctx.tools("service")
    return await ctx.call(tools.named("find"), number=wanted.number)
