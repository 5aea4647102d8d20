"""Embedders and collections for the tests of retrieval."""

import re
from collections.abc import Sequence
from zlib import crc32

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.database import Database
from orchestrator_retrieval import CollectionRetriever, Collections, Embedder, MiniLM

Calls = list[list[str]]


class FakeHashingEmbedder:
    """No model: each word is a direction, so that texts are near one another if they share words."""

    fingerprint = "fake-hashing"
    dimension = 64

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self._calls.append(list(texts))
        vectors = np.full((len(texts), self.dimension), 1e-3, np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()):
                vectors[row, crc32(word.encode()) % self.dimension] += 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="session")
def minilm() -> MiniLM:
    """The real model, loaded once."""
    return MiniLM()


@pytest.fixture
def embed_calls() -> Calls:
    """The texts of each call of the fake embedder."""
    return []


@pytest.fixture
def fake_embedder(embed_calls: Calls) -> Embedder:
    return FakeHashingEmbedder(embed_calls)


@pytest.fixture
def collections(database: Database, fake_embedder: Embedder) -> Collections:
    return Collections(database, fake_embedder)


@pytest.fixture
def retriever(database: Database, fake_embedder: Embedder) -> CollectionRetriever:
    return CollectionRetriever(database, fake_embedder)
