"""From what a server says of its tools to what a run may be offered."""

import hashlib
import re
from collections.abc import Collection, Sequence

from mcp.types import Tool as RemoteTool
from pydantic_core import to_json

from orchestrator.approvals import Effect
from orchestrator.errors import ToolServerUnusable, did_you_mean
from orchestrator.mcp.schemas import SchemaUnusable, standalone
from orchestrator.toolservers import ListedTool, MCPServer, ToolListing

__all__ = ["listing_of"]

LONGEST_NAME = 64
"""Characters that every engine and provider takes."""
LONGEST_DESCRIPTION = 2_000
"""Characters; a longer one is cut off."""
LARGEST_SCHEMA = 16 * 1024
"""Bytes of JSON."""
LARGEST_LISTING = 256 * 1024
"""Bytes of JSON, all tools together: it goes into the run's history, and into every prompt."""


def listing_of(server: MCPServer, tools: Sequence[RemoteTool], *, taken: Collection[str]) -> ToolListing:
    """What a run may be offered of a server's tools.

    Args:
        tools: as the server says.
        taken: names that tools of the app have.

    Raises:
        ToolServerUnusable: a tool that the app names isn't there or can't be offered, or there is too much.
    """
    named = {*(server.include or ()), *server.effects} - {*server.exclude}
    _require(server, named, [tool.name for tool in tools])
    listed: list[ListedTool] = []
    left_out: dict[str, str] = {}
    names = set(taken)
    for tool in {tool.name: tool for tool in tools}.values():
        if not server.offers(tool.name):
            continue
        offered = _offered(server.name, tool.name, names)
        try:
            parameters = standalone(tool.input_schema, offered)
            if (size := len(to_json(parameters))) > LARGEST_SCHEMA:
                raise SchemaUnusable(f"its schema has {size:,} bytes, more than the {LARGEST_SCHEMA:,} allowed")
        except SchemaUnusable as unusable:
            if tool.name in named:
                raise ToolServerUnusable(
                    server.name, problem=f"tool {tool.name!r}: {unusable}", remedy="Don't name it in MCPServer(...)."
                ) from unusable
            left_out[tool.name] = str(unusable)
            continue
        names.add(offered)
        listed.append(
            ListedTool(
                name=tool.name,
                offered=offered,
                description=_shortened(tool.description or tool.title or ""),
                parameters=parameters,
                effect=_effect(server, tool),
            )
        )
    listing = ToolListing(tools=tuple(listed), left_out=left_out)
    if (size := len(listing.model_dump_json())) > LARGEST_LISTING:
        raise ToolServerUnusable(
            server.name,
            problem=f"its {len(listed)} tools take {size:,} bytes, more than the {LARGEST_LISTING:,} allowed",
            remedy="Name those that are needed: MCPServer(include=[...]).",
        )
    return listing


def _require(server: MCPServer, named: Collection[str], known: Collection[str]) -> None:
    for name in sorted(named):
        if name not in known:
            raise ToolServerUnusable(
                server.name,
                problem=f"it has no tool {name!r} ({did_you_mean(name, known)})",
                remedy="Correct MCPServer(include=..., effects=...).",
            )


def _effect(server: MCPServer, tool: RemoteTool) -> Effect:
    if tool.name in server.effects:
        return server.effects[tool.name]
    hints = tool.annotations
    if not server.trust_annotations or hints is None:
        return server.effect
    if hints.read_only_hint:
        return "read"
    if hints.idempotent_hint:
        return "idempotent"
    return server.effect if hints.read_only_hint is None else "write"


def _offered(server: str, tool: str, taken: Collection[str]) -> str:
    """`tickets_create`: a name that no other tool has; a server's name has no `_`, so none of another server's."""
    whole = f"{server}_{re.sub(r'[^A-Za-z0-9_-]', '_', tool)}"
    if len(whole) <= LONGEST_NAME and whole not in taken:
        return whole
    mark = hashlib.sha256(tool.encode()).hexdigest()[:8]
    return f"{whole[: LONGEST_NAME - 9]}_{mark}"


def _shortened(description: str) -> str:
    if len(description) <= LONGEST_DESCRIPTION:
        return description
    return f"{description[: LONGEST_DESCRIPTION - 1]}…"
