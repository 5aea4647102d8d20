"""Whole documents of a collection, where passages aren't enough."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from orchestrator import ToolContext
from orchestrator_tools.shipped import shipped

__all__ = ["list_documents", "read_document"]

MOST_NAMES = 1000


@shipped(effect="read", timeout=timedelta(seconds=60), max_result=1024 * 1024)
async def list_documents(
    ctx: ToolContext,
    collection: Annotated[str, Field(max_length=255)],
    after: Annotated[str, Field(max_length=1024)] = "",
    limit: Annotated[int, Field(ge=1, le=MOST_NAMES)] = 100,
) -> list[str]:
    """List the names of the documents of a collection, in order.

    Args:
        collection: its name
        after: the last name of the list before, to go on from
        limit: names at most
    """
    return list(await ctx.documents(collection, after=after, limit=limit))


@shipped(effect="read", timeout=timedelta(seconds=60), max_result=512 * 1024)
async def read_document(
    ctx: ToolContext,
    collection: Annotated[str, Field(max_length=255)],
    name: Annotated[str, Field(max_length=1024)],
) -> str:
    """Read a whole document of a collection."""
    return await ctx.document(collection, name)
