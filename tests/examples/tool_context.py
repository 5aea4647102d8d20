"""What tools get while they run, without a run around them."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.images import Image
from orchestrator.passages import Retriever, SearchResult

__all__ = ["Alone"]


@dataclass(frozen=True)
class Alone:
    """The `ToolContext` of a call that a test makes by itself."""

    retriever: Retriever
    tenant: str = "default"
    idempotency_key: str = "a-test"

    def heartbeat(self) -> None:
        """Nobody waits for it."""

    async def retrieve(self, collection: str, query: str, *, k: int = 5) -> SearchResult:
        """As in a run."""
        return await self.retriever.search(self.tenant, collection, query, k=k)

    async def documents(self, collection: str, *, after: str = "", limit: int = 100) -> Sequence[str]:
        """As in a run."""
        return await self.retriever.documents(self.tenant, collection, after=after, limit=limit)

    async def document(self, collection: str, name: str) -> str:
        """As in a run."""
        return await self.retriever.document(self.tenant, collection, name)

    async def put_image(self, data: bytes, media_type: str | None = None) -> Image:
        """As in a run, but that nobody keeps it."""
        return Image.of(data, media_type)
