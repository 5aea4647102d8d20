"""What tools get while they run, without a run around them."""

from dataclasses import dataclass

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
