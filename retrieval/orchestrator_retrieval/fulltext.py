"""Full-text search over `chunks`, in the database itself: FTS5 on SQLite, a text-search column on PostgreSQL.

Both are derived by the database from `chunks`, in the transaction that changes it (by triggers, or as a generated
column), so no code can forget to keep them. `FULLTEXT_DDL` makes them; migrations run it, and `ensure_fulltext` where
the schema was made without migrations.
"""

import re
from collections.abc import Mapping, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = ["FULLTEXT_DDL", "ensure_fulltext", "search_fulltext", "terms_of"]

_PUNCTUATION = "!\"#$%&''()*+,-./:;<=>?@[\\]^_`{|}~"
"""All of ASCII's, as it stands in an SQL string. PostgreSQL would take `os.path` for a host and `<b>` for a tag."""

_WORDS = f"translate(text, '{_PUNCTUATION}', '{' ' * 32}')"

FULLTEXT_DDL: Mapping[str, Sequence[str]] = {
    "sqlite": (
        """CREATE VIRTUAL TABLE IF NOT EXISTS chunks_fulltext
        USING fts5(text, content='chunks', content_rowid='id', tokenize='porter unicode61')""",
        """CREATE TRIGGER IF NOT EXISTS chunks_fulltext_insert AFTER INSERT ON chunks BEGIN
        INSERT INTO chunks_fulltext(rowid, text) VALUES (new.id, new.text); END""",
        """CREATE TRIGGER IF NOT EXISTS chunks_fulltext_delete AFTER DELETE ON chunks BEGIN
        INSERT INTO chunks_fulltext(chunks_fulltext, rowid, text) VALUES ('delete', old.id, old.text); END""",
        "INSERT INTO chunks_fulltext(chunks_fulltext) VALUES ('rebuild')",
    ),
    "postgresql": (
        f"""ALTER TABLE chunks ADD COLUMN IF NOT EXISTS fulltext tsvector
        GENERATED ALWAYS AS (to_tsvector('english', {_WORDS})) STORED""",
        "CREATE INDEX IF NOT EXISTS ix_chunks_fulltext ON chunks USING gin (fulltext)",
    ),
}
"""For each dialect, statements that can be repeated. Chunks are never updated in place, so there is no such trigger."""

_PARTS = {
    "sqlite": """SELECT count(*) = 3 FROM sqlite_master
    WHERE name IN ('chunks_fulltext', 'chunks_fulltext_insert', 'chunks_fulltext_delete')""",
    "postgresql": """SELECT count(*) = 1 FROM pg_attribute
    WHERE attrelid = 'chunks'::regclass AND attname = 'fulltext'""",
}

_SEARCH = {
    "sqlite": text("""SELECT chunks.id FROM chunks_fulltext
    JOIN chunks ON chunks.id = chunks_fulltext.rowid
    JOIN documents ON documents.id = chunks.document
    WHERE chunks_fulltext MATCH :query AND documents.collection = :collection
    ORDER BY bm25(chunks_fulltext), chunks.id LIMIT :count"""),
    "postgresql": text("""SELECT chunks.id FROM chunks
    JOIN documents ON documents.id = chunks.document, to_tsquery('english', :query) AS query
    WHERE chunks.fulltext @@ query AND documents.collection = :collection
    ORDER BY ts_rank(chunks.fulltext, query, 1) DESC, chunks.id LIMIT :count"""),
}
# ts_rank and not ts_rank_cd: for a query of alternatives the latter counts occurrences, so common words win (measured).

_TERM = re.compile(r"[^\W_]+")
_LONGEST_TERM = 100
_MOST_TERMS = 64

_STOP_WORDS = frozenset(
    _TERM.findall(
        """a about after all also am an and any are as at be because been being but by can could did do does doing
        done for from get had has have having he her here hers him his how i if in into is it its just may me might
        more most my no nor not of on once one only or other our out over own same she should so some such than that
        the their them then there these they this those through to too under up us very was we were what when where
        which while who whom whose why will with would you your yours"""
    )
)


async def ensure_fulltext(connection: AsyncConnection) -> None:
    """Makes what full-text search needs, where any of it is missing. Part of the caller's transaction."""
    dialect = connection.dialect.name
    if (await connection.exec_driver_sql(_PARTS[dialect])).scalar_one():
        return
    if dialect == "postgresql":  # where two that make it at once would fail, although each statement can be repeated
        await connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('orchestrator.fulltext'))")
    for statement in FULLTEXT_DDL[dialect]:
        await connection.exec_driver_sql(statement)


async def search_fulltext(connection: AsyncConnection, collection: int, query: str, count: int) -> list[int]:
    """Ids of the `count` chunks of a collection that match the words of the query best, best first.

    A chunk matches if it has any of the words, or a form of it. Whatever the user types is words, never syntax.
    """
    terms = terms_of(query)
    if not terms:
        return []
    if connection.dialect.name == "sqlite":
        expression = " OR ".join(f'"{term}"' for term in terms)
    else:
        expression = " | ".join(f"'{term}'" for term in terms)
    values = {"query": expression, "collection": collection, "count": count}
    return list((await connection.execute(_SEARCH[connection.dialect.name], values)).scalars())


def terms_of(query: str) -> list[str]:
    """The different words of a query in lower case, without stop words unless it has no others."""
    words = dict.fromkeys(word for word in _TERM.findall(query.lower()) if len(word) <= _LONGEST_TERM)
    telling = [word for word in words if word not in _STOP_WORDS]
    return (telling or list(words))[:_MOST_TERMS]
