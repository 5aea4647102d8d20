"""The `ToolContext` of tools that need nothing of it."""

from collections.abc import Sequence

from orchestrator.images import Image
from orchestrator.passages import SearchResult

__all__ = ["Alone"]


class Alone:
    tenant = "default"
    idempotency_key = "a-test"

    def heartbeat(self) -> None:
        """Nobody waits for it."""

    async def retrieve(self, collection: str, query: str, *, k: int = 5) -> SearchResult:
        raise NotImplementedError

    async def documents(self, collection: str, *, after: str = "", limit: int = 100) -> Sequence[str]:
        raise NotImplementedError

    async def document(self, collection: str, name: str) -> str:
        raise NotImplementedError

    async def put_image(self, data: bytes, media_type: str | None = None) -> Image:
        raise NotImplementedError
