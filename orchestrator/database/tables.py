"""All tables, for SQLite and PostgreSQL.

Money is integer nano-dollars and engine time integer microseconds, since SQLite has no exact decimal. Imported by
`orchestrator_migrations`, and by the modules that own each table; nothing else here.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

__all__ = [
    "blobs",
    "charges",
    "chunks",
    "collections",
    "documents",
    "embeddings",
    "messages",
    "metadata",
    "prices",
    "renderings",
    "runs",
]

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Moment(TypeDecorator[datetime]):
    """A time in UTC; SQLite forgets the zone, so it is put back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


SerialId = BigInteger().with_variant(Integer, "sqlite")

runs = Table(
    "runs",
    metadata,
    Column("id", String(64), primary_key=True, doc="the first execution id of the workflow run"),
    Column("workflow_id", String(255), nullable=False, index=True),
    Column("workflow", String(255), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("error", Text),
    Column("started_at", Moment, nullable=False, index=True),
    Column("closed_at", Moment),
    Column("limit_nano", BigInteger),
    Column("limit_tokens", BigInteger),
    Column("reserved_nano", BigInteger, nullable=False, default=0),
    Column("reserved_tokens", BigInteger, nullable=False, default=0),
    Column("spent_nano", BigInteger, nullable=False, default=0),
    Column("spent_tokens", BigInteger, nullable=False, default=0),
    CheckConstraint("spent_nano >= 0 AND spent_tokens >= 0", name="spent"),
    CheckConstraint("reserved_nano >= 0 AND reserved_tokens >= 0", name="reserved"),
)

charges = Table(
    "charges",
    metadata,
    Column("workflow_id", String(255), primary_key=True),
    Column("run_id", String(64), primary_key=True),
    Column("activity_id", String(64), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("root", String(64), ForeignKey("runs.id"), nullable=False, index=True),
    Column("kind", String(16), nullable=False, doc="generate, retrieve or tool"),
    Column("name", String(255), nullable=False, doc="the model, collection or tool"),
    Column("rid", String(64), doc="the engine's request id"),
    Column("server", String(255)),
    Column("outcome", String(16), doc="null while the row is open, that is reserved and not settled"),
    Column("reserved_nano", BigInteger, nullable=False),
    Column("reserved_tokens", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger),
    Column("cached_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger),
    Column("queue_us", BigInteger),
    Column("prefill_us", BigInteger),
    Column("decode_us", BigInteger),
    Column("cost_nano", BigInteger),
    Column("estimated", Boolean, nullable=False, default=False),
    Column("input_price", BigInteger, nullable=False, default=0, doc="nano-dollars for a million tokens"),
    Column("cached_price", BigInteger, nullable=False, default=0),
    Column("output_price", BigInteger, nullable=False, default=0),
    Column("price_source", String(64), doc="the row of the price book, or the setting"),
    Column("result", JSON, doc="what a settled attempt returned, so that a lost answer isn't paid for twice"),
    Column("reserved_at", Moment, nullable=False),
    Column("settled_at", Moment),
    CheckConstraint("cached_tokens IS NULL OR cached_tokens <= prompt_tokens", name="cached"),
    CheckConstraint("reasoning_tokens IS NULL OR reasoning_tokens <= output_tokens", name="reasoning"),
    CheckConstraint("cost_nano IS NULL OR cost_nano >= 0", name="cost"),
)

prices = Table(
    "prices",
    metadata,
    Column("id", SerialId, primary_key=True, autoincrement=True),
    Column("model", String(255), nullable=False),
    Column("input_price", BigInteger, nullable=False, doc="nano-dollars for a million uncached prompt tokens"),
    Column("cached_price", BigInteger, nullable=False),
    Column("output_price", BigInteger, nullable=False),
    Column("valid_from", Moment, nullable=False),
    UniqueConstraint("model", "valid_from"),
    CheckConstraint("input_price >= 0 AND cached_price >= 0 AND output_price >= 0", name="price"),
)

messages = Table(
    "messages",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("parent", String(64), ForeignKey("messages.hash")),
    Column("tenant", String(64), nullable=False),
    Column("depth", Integer, nullable=False),
    Column("role", String(16), nullable=False),
    Column("body", LargeBinary, nullable=False, doc="the message as JSON, zlib-compressed"),
    Column("created_at", Moment, nullable=False),
)

renderings = Table(
    "renderings",
    metadata,
    Column("hash", String(64), ForeignKey("messages.hash"), primary_key=True),
    Column("tokenizer", String(64), primary_key=True, doc="fingerprint of tokenizer and chat template"),
    Column("whole", Boolean, nullable=False, doc="whether the ids are the whole prompt, or what this message adds"),
    Column("ids", LargeBinary, nullable=False, doc="token ids, little-endian uint32, zlib-compressed"),
)

blobs = Table(
    "blobs",
    metadata,
    Column("tenant", String(64), primary_key=True),
    Column("hash", String(64), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False, doc="zlib-compressed"),
    Column("created_at", Moment, nullable=False),
)

collections = Table(
    "collections",
    metadata,
    Column("id", SerialId, primary_key=True, autoincrement=True),
    Column("tenant", String(64), nullable=False),
    Column("name", String(255), nullable=False),
    Column("embedder", String(64), nullable=False, doc="fingerprint of the embedding model"),
    Column("epoch", BigInteger, nullable=False, default=0, doc="grows with every change: an index knows its age"),
    Column("created_at", Moment, nullable=False),
    UniqueConstraint("tenant", "name"),
    sqlite_autoincrement=True,
)

documents = Table(
    "documents",
    metadata,
    Column("id", SerialId, primary_key=True, autoincrement=True),
    Column("collection", SerialId, ForeignKey("collections.id", ondelete="CASCADE"), nullable=False),
    Column("name", String(1024), nullable=False),
    Column("content_hash", String(64), nullable=False),
    Column("created_at", Moment, nullable=False),
    UniqueConstraint("collection", "name"),
    sqlite_autoincrement=True,
)

chunks = Table(
    "chunks",
    metadata,
    Column("id", SerialId, primary_key=True, autoincrement=True),
    Column("document", SerialId, ForeignKey("documents.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("position", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("text_hash", String(64), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    UniqueConstraint("document", "position"),
    sqlite_autoincrement=True,
)

embeddings = Table(
    "embeddings",
    metadata,
    Column("text_hash", String(64), primary_key=True),
    Column("embedder", String(64), primary_key=True),
    Column("vector", LargeBinary, nullable=False, doc="float32, little-endian"),
)
"""A cache by content: a text is embedded once per model, whatever collections it is in."""

Index("ix_charges_reserved_at", charges.c.reserved_at)
