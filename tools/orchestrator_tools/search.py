"""Lets a model look things up by itself."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from orchestrator import ToolContext
from orchestrator.errors import UnknownName
from orchestrator_tools.shipped import shipped

__all__ = ["search_collection"]

PASSAGES = 2
MAX_PASSAGE = 1000


@shipped(effect="read", timeout=timedelta(seconds=60))
async def search_collection(
    ctx: ToolContext,
    collection: Annotated[str, Field(max_length=64)],
    query: Annotated[str, Field(max_length=120)],
) -> str:
    """Search a collection of documents for passages that match a query."""
    try:
        found = await ctx.retrieve(collection, query, k=PASSAGES)
    except UnknownName as error:
        if len(error.known) != 1:
            raise
        (collection,) = error.known  # there is only one that can be meant
        found = await ctx.retrieve(collection, query, k=PASSAGES)
    if not found.passages:
        return f"nothing in {collection} is about that"
    return "\n\n".join(f"{passage.document}: {passage.text[:MAX_PASSAGE]}" for passage in found.passages)
