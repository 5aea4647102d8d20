"""Collections that hold the example's handbook."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.database import Database
from orchestrator_retrieval import CollectionRetriever, Collections, installed_embedder, read_documents

SUPPORT = Path(__file__).parents[2] / "examples" / "support"


@pytest.fixture
async def collections(sqlite_url: str) -> AsyncIterator[Collections]:
    """The tenant's collections; there is none yet."""
    async with Database.open(sqlite_url) as database:
        yield Collections(database, installed_embedder())


@pytest.fixture
async def handbook(collections: Collections) -> Collections:
    """With the example's handbook, as its README says to add it."""
    documents, skipped = read_documents([SUPPORT / "handbook"])
    assert {document.name for document in documents} == {"handbook/refunds.md", "handbook/shipping.md"}
    assert skipped == []
    await collections.create("default", "handbook")
    await collections.add("default", "handbook", documents)
    return collections


@pytest.fixture
async def retriever(sqlite_url: str) -> AsyncIterator[CollectionRetriever]:
    """What finds passages, as the runs do."""
    async with Database.open(sqlite_url) as database:
        yield CollectionRetriever(database, installed_embedder())
