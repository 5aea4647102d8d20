"""The dense index of one collection, derived from the database and brought up to date from it."""

from collections.abc import Sequence
from threading import Lock
from typing import Any

import anyio
from anyio import to_thread
from sqlalchemy import Row, and_, select

from orchestrator.database import Database
from orchestrator.database.tables import chunks, collections, documents, embeddings
from orchestrator_retrieval.embedder import Embedder
from orchestrator_retrieval.index import VectorIndex, open_index

__all__ = ["DerivedIndex"]

NOTHING = -1
"""An epoch before the first."""


class DerivedIndex:
    """The vectors of one collection in memory, as of an epoch of the collection.

    Any process may change the collection at any time; the epoch in the database says that it did. Losing this object
    loses nothing: 100,000 vectors are read and indexed in about a second.
    """

    def __init__(self, database: Database, collection: int, embedder: Embedder) -> None:
        self._database, self._collection, self._embedder = database, collection, embedder
        self._epoch = NOTHING
        self._held: dict[int, int] = {}
        """The epoch of each chunk in the index: SQLite may give a removed chunk's id to a later one."""
        self._index: VectorIndex | None = None
        self._catching_up = anyio.Lock()
        self._applying = Lock()

    async def at(self, epoch: int) -> VectorIndex:
        """The index as of `epoch` or later. One task brings it there, the others wait for it."""
        if self._index is None or self._epoch < epoch:
            async with self._catching_up:
                if self._index is None or self._epoch < epoch:
                    return await self._catch_up()
        return self._index

    async def _catch_up(self) -> VectorIndex:
        async with self._database.read() as connection:
            # The epoch first: what is read after it is as new or newer, and newer is put right the next time.
            query = select(collections.c.epoch).where(collections.c.id == self._collection)
            epoch = (await connection.execute(query)).scalar_one()
            there = (
                select(chunks.c.id, chunks.c.epoch)
                .select_from(chunks.join(documents))
                .where(documents.c.collection == self._collection)
            )
            present: dict[int, int] = {row.id: row.epoch for row in await connection.execute(there)}
            same = and_(
                embeddings.c.text_hash == chunks.c.text_hash, embeddings.c.embedder == self._embedder.fingerprint
            )
            newer = (
                select(chunks.c.id, chunks.c.epoch, embeddings.c.vector)
                .select_from(chunks.join(documents).join(embeddings, same))
                .where(documents.c.collection == self._collection, chunks.c.epoch > self._epoch)
            )
            rows = (await connection.execute(newer)).all()
        return await to_thread.run_sync(self._apply, epoch, present, rows)

    def _apply(self, epoch: int, present: dict[int, int], rows: Sequence[Row[Any, Any, Any]]) -> VectorIndex:
        """Under a lock of its own: `Task.cancel()`, which Temporal uses, leaves a thread running without its waiter."""
        with self._applying:
            self._index = self._changed(present, rows)
            self._epoch = max(self._epoch, epoch)
            return self._index

    def _changed(self, present: dict[int, int], rows: Sequence[Row[Any, Any, Any]]) -> VectorIndex:
        import numpy as np  # slow to import, and wanted by searches only

        index = open_index(self._embedder.dimension) if self._index is None else self._index
        gone = [chunk for chunk, born in self._held.items() if present.get(chunk) != born]
        if gone:
            index.remove(gone)
        for chunk in gone:
            del self._held[chunk]
        fresh = [row for row in rows if row.id not in self._held]
        if fresh:
            vectors = np.frombuffer(b"".join(row.vector for row in fresh), "<f4")
            index.add([row.id for row in fresh], vectors.reshape(len(fresh), self._embedder.dimension))
        self._held.update((row.id, row.epoch) for row in fresh)
        return index
