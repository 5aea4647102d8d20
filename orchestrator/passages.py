"""What retrieval returns, and the port through which the orchestrator reaches it.

Pure; imports nothing that does I/O. `orchestrator_retrieval` is the implementation that ships.
"""

from collections.abc import Sequence
from typing import Protocol

from pydantic import BaseModel, ConfigDict

__all__ = ["Passage", "Retriever", "SearchResult"]


class Passage(BaseModel):
    """A piece of a document, as it was found."""

    model_config = ConfigDict(frozen=True)

    id: str
    """Stable across searches: `<document>#<position of the chunk>`."""
    document: str
    """The document's name within its collection."""
    text: str
    score: float
    """Of the fused ranking; comparable within one result only."""


class SearchResult(BaseModel):
    """Passages, best first, and how they were found."""

    model_config = ConfigDict(frozen=True)

    passages: tuple[Passage, ...]
    mode: str
    """Which searches were fused, and on what device: `"fulltext+dense (cpu)"`."""


class Retriever(Protocol):
    """Finds passages in collections."""

    async def search(self, tenant: str, collection: str, query: str, *, k: int) -> SearchResult:
        """The `k` best passages of a collection.

        Raises:
            UnknownName: the tenant has no such collection.
        """
        ...

    async def collections(self, tenant: str) -> Sequence[str]:
        """The names of the tenant's collections."""
        ...

    async def documents(self, tenant: str, collection: str, *, after: str, limit: int) -> Sequence[str]:
        """Names of a collection's documents in order, `limit` at most, from behind a name on.

        Raises:
            UnknownName: the tenant has no such collection.
        """
        ...

    async def document(self, tenant: str, collection: str, name: str) -> str:
        """A document's text, but for white space between its passages.

        Raises:
            UnknownName: the tenant has no such collection, or the collection no such document.
        """
        ...
