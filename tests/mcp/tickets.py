"""An MCP server of the official SDK, which misbehaves on request: `python tests/mcp/tickets.py`.

`TICKETS_FOLDER` holds what it wrote, and what it is to do wrong: a file `mute` keeps it from answering, a file `refuse`
from starting. Each process adds its number to `pids`.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import anyio
from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import BaseModel

__all__ = ["KEY", "ticket_server"]

KEY = "reasoning-orchestrator/idempotency-key"
PIXEL = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de")
STUBBORN = "trap '' TERM HUP; while :; do sleep 1; done"


class Ticket(BaseModel):
    number: int
    title: str
    parent: "Ticket | None" = None


def folder() -> Path:
    """Where it writes."""
    return Path(os.environ["TICKETS_FOLDER"])


def note(name: str, line: object = "") -> int:
    """Appends a line to a file of the folder; how many lines that makes."""
    path = folder() / name
    with path.open("a") as file:
        file.write(f"{line}\n")
    return len(path.read_text().splitlines())


async def find(number: int) -> Ticket:
    """Find a ticket by its number."""
    return Ticket(number=number, title=f"ticket {number}")


async def create(ticket: Ticket, ctx: Context) -> str:
    """Create a ticket."""
    note("created", ticket.title)
    meta = ctx.request_context.meta or {}
    return f"created {ticket.title!r} under the key {meta.get(KEY)}"


async def close(number: int) -> str:
    """Close a ticket."""
    return f"closed {number}"


async def slow(seconds: float) -> str:
    """Takes its time."""
    note("slow")
    await anyio.sleep(seconds)
    return "at last"


async def stuck() -> str:
    """Blocks the whole server."""
    note("stuck")
    time.sleep(3600)  # noqa: ASYNC251
    return ""


async def crash(times: int) -> str:
    """Ends the server so many times."""
    if note("crashed") <= times:
        print("the tickets are on fire", file=sys.stderr, flush=True)
        os._exit(3)
    return "survived"


async def huge(size: int) -> str:
    """Says much."""
    return "x" * size


async def fail() -> str:
    """Fails."""
    note("failed")
    raise ToolError("there is no such ticket")


async def picture() -> list[str | Image]:
    """A picture, with a word on it."""
    return ["the first page", Image(data=PIXEL, format="png")]


async def reveal() -> str:
    """Says what it shouldn't."""
    return f"the token is {os.environ.get('TICKETS_TOKEN')}\0"


async def breed() -> int:
    """Starts a process that heeds nothing; its number."""
    child = subprocess.Popen(["sh", "-c", STUBBORN])  # noqa: ASYNC220
    note("pids", child.pid)
    return child.pid


async def reopen(number: int) -> str:
    """Open a ticket again."""
    return f"reopened {number}"


def ticket_server() -> MCPServer:
    """The server, as it starts."""
    server = MCPServer("tickets")

    async def change() -> str:
        """Gives the server another tool, and takes one away."""
        server.add_tool(reopen)
        server.remove_tool("close")
        return "changed"

    server.add_tool(find, annotations=ToolAnnotations(read_only_hint=True))
    server.add_tool(close, annotations=ToolAnnotations(idempotent_hint=True))
    server.add_tool(picture, structured_output=False)
    for tool in (create, slow, stuck, crash, huge, fail, reveal, breed, change):
        server.add_tool(tool)
    return server


if __name__ == "__main__":
    note("pids", os.getpid())
    if (folder() / "refuse").exists():
        sys.exit(f"no database at {os.environ.get('TICKETS_TOKEN')}")
    if (folder() / "mute").exists():
        time.sleep(3600)
    ticket_server().run()
