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
    text,
)

__all__ = [
    "accounts",
    "blobs",
    "charges",
    "chunks",
    "collections",
    "documents",
    "embeddings",
    "engine_counters",
    "engine_windows",
    "gpu_shares",
    "messages",
    "metadata",
    "prices",
    "renderings",
    "runs",
    "seals",
    "top_ups",
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

accounts = Table(
    "accounts",
    metadata,
    Column("id", String(128), primary_key=True, doc="a run's id, or tenant:NAME:day, tenant:NAME:month"),
    Column("tenant", String(64), nullable=False, index=True),
    Column("period", String(8), doc="day or month, of a tenant's account; null for a run's"),
    Column("period_start", Moment, doc="what is spent counts from here on; it only moves forward"),
    Column("limit_nano", BigInteger),
    Column("limit_tokens", BigInteger),
    Column("limit_gpu_us", BigInteger),
    Column("limit_calls", BigInteger),
    Column("kept_ppm", Integer, nullable=False, default=0, doc="millionths of each limit kept for the closing answer"),
    Column("reserved_nano", BigInteger, nullable=False, default=0),
    Column("reserved_tokens", BigInteger, nullable=False, default=0),
    Column("reserved_gpu_us", BigInteger, nullable=False, default=0),
    Column("spent_nano", BigInteger, nullable=False, default=0),
    Column("spent_tokens", BigInteger, nullable=False, default=0),
    Column("spent_gpu_us", BigInteger, nullable=False, default=0),
    Column("calls", BigInteger, nullable=False, default=0, doc="attempts of engine calls"),
    Column("sealed", Boolean, nullable=False, default=False, doc="whether the run has ended: what comes later is late"),
    CheckConstraint("reserved_nano >= 0 AND reserved_tokens >= 0 AND reserved_gpu_us >= 0", name="reserved"),
)
"""What may be spent, what is reserved and what is spent: of every run, and of every tenant that has a limit."""

top_ups = Table(
    "top_ups",
    metadata,
    Column("account", String(128), ForeignKey("accounts.id"), primary_key=True),
    Column("key", String(128), primary_key=True, doc="so that one delivered twice counts once"),
    Column("nano", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("gpu_us", BigInteger, nullable=False),
    Column("calls", BigInteger, nullable=False),
    Column("at", Moment, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String(64), primary_key=True, doc="the first execution id of the workflow run"),
    Column("root", String(64), nullable=False, index=True, doc="the outermost run that started it; itself, at the top"),
    Column("parent", String(64), index=True),
    Column("workflow_id", String(255), nullable=False, index=True),
    Column("workflow", String(255), nullable=False),
    Column("version", String(64), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("error", Text),
    Column("path", String(512), doc="the kinds of its steps in order: the inference path"),
    Column("passed", Boolean, doc="what the workflow's check of correctness said"),
    Column("started_at", Moment, nullable=False, index=True),
    Column("closed_at", Moment),
)

charges = Table(
    "charges",
    metadata,
    Column("workflow_id", String(255), primary_key=True),
    Column("run_id", String(64), primary_key=True),
    Column("activity_id", String(64), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("call", Integer, primary_key=True, doc="0, or the number of a further paid call of the same attempt"),
    Column("entry", Integer, primary_key=True, doc="0, or the number of a correction; only these may be negative"),
    Column("reason", String(16), doc="of a correction: late, facts, attribution or discard"),
    Column("run", String(64), ForeignKey("runs.id"), nullable=False, index=True),
    Column("root", String(64), nullable=False, index=True),
    Column("tenant", String(64), nullable=False),
    Column("kind", String(16), nullable=False, doc="generate, retrieve or tool"),
    Column("name", String(255), nullable=False, doc="the model, collection or tool"),
    Column("pool", String(64)),
    Column("server", String(255)),
    Column("rid", String(64), doc="the engine's request id"),
    Column("outcome", String(16), doc="null while the row is open, that is reserved and not settled"),
    Column("reserved_nano", BigInteger, nullable=False),
    Column("reserved_tokens", BigInteger, nullable=False),
    Column("reserved_gpu_us", BigInteger, nullable=False),
    Column("sent_tokens", BigInteger, doc="the prompt's, known before the engine says so"),
    Column("prompt_tokens", BigInteger),
    Column("cached_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger),
    Column("queue_us", BigInteger),
    Column("prefill_us", BigInteger),
    Column("decode_us", BigInteger),
    Column("entered_us", BigInteger, doc="Unix time of the prefill's begin, by the engine's clock"),
    Column("prefilled_us", BigInteger),
    Column("finished_us", BigInteger),
    Column("gpu_us", BigInteger, doc="GPU time; a correction with the final share follows a provisional one"),
    Column("cost_nano", BigInteger),
    Column("estimated", Boolean, nullable=False, default=False),
    Column("input_price", BigInteger, nullable=False, default=0, doc="nano-dollars for a million tokens"),
    Column("cached_price", BigInteger, nullable=False, default=0),
    Column("output_price", BigInteger, nullable=False, default=0),
    Column("gpu_price", BigInteger, nullable=False, default=0, doc="nano-dollars for a GPU-hour"),
    Column("call_price", BigInteger, nullable=False, default=0, doc="nano-dollars for the attempt itself"),
    Column("price_source", String(64), doc="the row of the price book, or the setting"),
    Column("saved_nano", BigInteger, doc="what the kept result cost that was handed out again; null where none was"),
    Column("saved_tokens", BigInteger, doc="and the tokens that it took"),
    Column("result", JSON, doc="what a settled attempt returned, so that a lost answer isn't paid for twice"),
    Column("seal", Integer, doc="the seal that covers it; null until its run is sealed"),
    Column("reserved_at", Moment, nullable=False),
    Column("deadline", Moment, doc="by when the attempt must have ended"),
    Column("settled_at", Moment),
    CheckConstraint("entry > 0 OR cached_tokens IS NULL OR cached_tokens <= prompt_tokens", name="cached"),
    CheckConstraint("entry > 0 OR reasoning_tokens IS NULL OR reasoning_tokens <= output_tokens", name="reasoning"),
    CheckConstraint("entry > 0 OR cost_nano IS NULL OR cost_nano >= 0", name="cost"),
)
Index("ix_charges_reserved_at", charges.c.reserved_at)
Index("ix_charges_server_finished_us", charges.c.server, charges.c.finished_us)
Index(
    "ix_charges_open",
    charges.c.reserved_at,
    sqlite_where=text("outcome IS NULL"),
    postgresql_where=text("outcome IS NULL"),
)
Index(
    "ix_charges_estimated",
    charges.c.reserved_at,
    sqlite_where=text("estimated"),
    postgresql_where=text("estimated"),
)
Index(
    "uq_charges_used",
    charges.c.workflow_id,
    charges.c.run_id,
    charges.c.activity_id,
    charges.c.call,
    unique=True,
    sqlite_where=text("outcome = 'used' AND entry = 0"),
    postgresql_where=text("outcome = 'used' AND entry = 0"),
)

seals = Table(
    "seals",
    metadata,
    Column("run", String(64), ForeignKey("runs.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("rows", Integer, nullable=False, doc="how many charges it covers"),
    Column("head", String(64), nullable=False, doc="SHA-256 over the head before and the rows covered"),
    Column("sealed_at", Moment, nullable=False),
)

prices = Table(
    "prices",
    metadata,
    Column("id", SerialId, primary_key=True, autoincrement=True),
    Column("book", String(64), nullable=False, doc="default is what runs are charged by"),
    Column("model", String(255), nullable=False, doc="* for any"),
    Column("pool", String(64), nullable=False, doc="* for any"),
    Column("input_price", BigInteger, doc="nano-dollars for a million uncached prompt tokens"),
    Column("cached_price", BigInteger),
    Column("output_price", BigInteger),
    Column("gpu_price", BigInteger, doc="nano-dollars for a GPU-hour; then tokens have no price of their own"),
    Column("valid_from", Moment, nullable=False),
    Column("valid_until", Moment),
    Column("source", String(255), nullable=False),
    Column("created_at", Moment, nullable=False),
    UniqueConstraint("book", "model", "pool", "valid_from"),
    CheckConstraint("input_price >= 0 AND cached_price >= 0 AND output_price >= 0 AND gpu_price >= 0", name="price"),
    CheckConstraint("valid_until IS NULL OR valid_until > valid_from", name="period"),
    CheckConstraint(
        "(gpu_price IS NULL) = (input_price IS NOT NULL AND cached_price IS NOT NULL AND output_price IS NOT NULL)",
        name="basis",
    ),
)

engine_windows = Table(
    "engine_windows",
    metadata,
    Column("server", String(255), primary_key=True),
    Column("started_us", BigInteger, primary_key=True, doc="Unix time, by the engine's clock"),
    Column("pool", String(64), nullable=False),
    Column("gpus", Integer, nullable=False),
    Column("gpu_price", BigInteger, nullable=False, doc="nano-dollars for a GPU-hour, at the window's start"),
    Column("wall_us", BigInteger, nullable=False, doc="times the GPUs; the sum of the next three"),
    Column("attributed_us", BigInteger, nullable=False),
    Column("idle_us", BigInteger, nullable=False),
    Column("overhead_us", BigInteger, nullable=False, doc="busy with none of our calls: retractions, health checks"),
    Column("final", Boolean, nullable=False),
    Column("method", String(16), nullable=False, doc="fitted, assumed or flat: where the weights come from"),
    Column("weights", JSON, nullable=False),
    CheckConstraint("wall_us = attributed_us + idle_us + overhead_us", name="conserved"),
)

gpu_shares = Table(
    "gpu_shares",
    metadata,
    Column("server", String(255), primary_key=True),
    Column("started_us", BigInteger, primary_key=True, doc="of the window"),
    Column("workflow_id", String(255), primary_key=True),
    Column("run_id", String(64), primary_key=True),
    Column("activity_id", String(64), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("call", Integer, primary_key=True),
    Column("gpu_us", BigInteger, nullable=False),
)
"""Each call's share of each final window: together the window's attributed time."""

engine_counters = Table(
    "engine_counters",
    metadata,
    Column("server", String(255), primary_key=True),
    Column("at_us", BigInteger, primary_key=True, doc="Unix time"),
    Column("pool", String(64), nullable=False),
    Column("boot", String(64), nullable=False, doc="changes when the server starts again, and its counters with it"),
    Column("requests", BigInteger),
    Column("aborted", BigInteger),
    Column("prompt_tokens", BigInteger),
    Column("cached_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("retracted_tokens", BigInteger),
    Column("idle_us", BigInteger, doc="time that the scheduler had nothing to do"),
    Column("busy_us", BigInteger, doc="time that the device was busy, where the server measures it"),
    Column("moments", JSON, doc="running sums from which step times are fitted"),
)
"""What engines counted since they started, from time to time."""

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

kept_results = Table(
    "kept_results",
    metadata,
    Column("key", String(64), primary_key=True, doc="SHA-256 over the tenant and all that the result depends on"),
    Column("tenant", String(64), nullable=False),
    Column("body", LargeBinary, nullable=False, doc="the result as JSON, zlib-compressed"),
    Column("size", BigInteger, nullable=False, doc="bytes of the body"),
    Column("cost_nano", BigInteger, nullable=False, doc="of the attempt that made it"),
    Column("tokens", BigInteger, nullable=False, doc="prompt and output tokens of that attempt"),
    Column("made_at", Moment, nullable=False, index=True),
    Column("expires_at", Moment, nullable=False, index=True),
)
"""A cache: any row may go at any time."""

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
