"""Lets a model look things up by itself."""

from datetime import timedelta

from orchestrator import ToolContext
from orchestrator_tools.shipped import shipped

__all__ = ["search_collection"]

MAX_PASSAGE = 1500


@shipped.tool(effect="read", timeout=timedelta(seconds=60))
async def search_collection(ctx: ToolContext, collection: str, query: str) -> str:
    """Search a collection of documents for passages about something.

    Args:
        collection: the collection's name
        query: what to look for, in a few words
    """
    found = await ctx.retrieve(collection, query, k=3)
    if not found.passages:
        return f"nothing in {collection} is about that"
    return "\n\n".join(f"{passage.document}: {passage.text[:MAX_PASSAGE]}" for passage in found.passages)
