"""The complete ledger: accounts, corrections, seals, priced pools, GPU time and the engines' own counters."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

REPLACED = ("charges", "runs", "prices")


def upgrade() -> None:
    # SQLite can't change a primary key in place, so that these tables are made anew on both databases.
    for table in REPLACED:
        op.execute(f"CREATE TABLE old_{table} AS SELECT * FROM {table}")  # noqa: S608 - names above
        op.drop_table(table)
    create()
    op.execute(
        """
        INSERT INTO runs (id, root, workflow_id, workflow, version, tenant, status, error, started_at, closed_at)
        SELECT id, id, workflow_id, workflow, '1', tenant, status, error, started_at, closed_at FROM old_runs
        """
    )
    op.execute(
        """
        INSERT INTO accounts (id, tenant, limit_nano, limit_tokens, kept_ppm, reserved_nano, reserved_tokens,
            reserved_gpu_us, spent_nano, spent_tokens, spent_gpu_us, calls, sealed)
        SELECT r.id, r.tenant, r.limit_nano, r.limit_tokens, 0, r.reserved_nano, r.reserved_tokens, 0, r.spent_nano,
            r.spent_tokens, 0, (SELECT count(*) FROM old_charges c WHERE c.root = r.id AND c.kind = 'generate'),
            r.closed_at IS NOT NULL
        FROM old_runs r
        """
    )
    op.execute(
        f"""
        INSERT INTO charges ({COPIED}, call, entry, run, tenant, reserved_gpu_us, gpu_price, call_price)
        SELECT {", ".join(f"c.{name.strip()}" for name in COPIED.split(","))}, 0, 0, c.root, r.tenant, 0, 0, 0
        FROM old_charges c JOIN old_runs r ON r.id = c.root
        """  # noqa: S608 - names below
    )
    op.execute(
        """
        INSERT INTO prices (id, book, model, pool, input_price, cached_price, output_price, valid_from, source,
            created_at)
        SELECT id, 'default', model, '*', input_price, cached_price, output_price, valid_from, 'earlier version',
            valid_from
        FROM old_prices
        """
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SELECT setval(pg_get_serial_sequence('prices', 'id'), coalesce(max(id), 0) + 1, false) FROM prices")
    for table in REPLACED:
        op.drop_table(f"old_{table}")


COPIED = (
    "workflow_id, run_id, activity_id, attempt, root, kind, name, rid, server, outcome, reserved_nano, "
    "reserved_tokens, prompt_tokens, cached_tokens, output_tokens, reasoning_tokens, queue_us, prefill_us, decode_us, "
    "cost_nano, estimated, input_price, cached_price, output_price, price_source, result, reserved_at, settled_at"
)


def create() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.String(length=128), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("period", sa.String(length=8), nullable=True),
        sa.Column("period_start", sa.DateTime(timezone=True), nullable=True),
        sa.Column("limit_nano", sa.BigInteger(), nullable=True),
        sa.Column("limit_tokens", sa.BigInteger(), nullable=True),
        sa.Column("limit_gpu_us", sa.BigInteger(), nullable=True),
        sa.Column("limit_calls", sa.BigInteger(), nullable=True),
        sa.Column("kept_ppm", sa.Integer(), nullable=False),
        sa.Column("reserved_nano", sa.BigInteger(), nullable=False),
        sa.Column("reserved_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reserved_gpu_us", sa.BigInteger(), nullable=False),
        sa.Column("spent_nano", sa.BigInteger(), nullable=False),
        sa.Column("spent_tokens", sa.BigInteger(), nullable=False),
        sa.Column("spent_gpu_us", sa.BigInteger(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "reserved_nano >= 0 AND reserved_tokens >= 0 AND reserved_gpu_us >= 0", name=op.f("ck_accounts_reserved")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
    )
    with op.batch_alter_table("accounts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_accounts_tenant"), ["tenant"], unique=False)

    op.create_table(
        "engine_counters",
        sa.Column("server", sa.String(length=255), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("pool", sa.String(length=64), nullable=False),
        sa.Column("boot", sa.String(length=64), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=True),
        sa.Column("aborted", sa.BigInteger(), nullable=True),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=True),
        sa.Column("output_tokens", sa.BigInteger(), nullable=True),
        sa.Column("retracted_tokens", sa.BigInteger(), nullable=True),
        sa.Column("idle_us", sa.BigInteger(), nullable=True),
        sa.Column("busy_us", sa.BigInteger(), nullable=True),
        sa.Column("moments", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("server", "at_us", name=op.f("pk_engine_counters")),
    )
    op.create_table(
        "engine_windows",
        sa.Column("server", sa.String(length=255), nullable=False),
        sa.Column("started_us", sa.BigInteger(), nullable=False),
        sa.Column("pool", sa.String(length=64), nullable=False),
        sa.Column("gpus", sa.Integer(), nullable=False),
        sa.Column("gpu_price", sa.BigInteger(), nullable=False),
        sa.Column("wall_us", sa.BigInteger(), nullable=False),
        sa.Column("attributed_us", sa.BigInteger(), nullable=False),
        sa.Column("idle_us", sa.BigInteger(), nullable=False),
        sa.Column("overhead_us", sa.BigInteger(), nullable=False),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.Column("method", sa.String(length=16), nullable=False),
        sa.Column("weights", sa.JSON(), nullable=False),
        sa.CheckConstraint("wall_us = attributed_us + idle_us + overhead_us", name=op.f("ck_engine_windows_conserved")),
        sa.PrimaryKeyConstraint("server", "started_us", name=op.f("pk_engine_windows")),
    )
    op.create_table(
        "gpu_shares",
        sa.Column("server", sa.String(length=255), nullable=False),
        sa.Column("started_us", sa.BigInteger(), nullable=False),
        sa.Column("workflow_id", sa.String(length=255), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("activity_id", sa.String(length=64), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("call", sa.Integer(), nullable=False),
        sa.Column("gpu_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "server",
            "started_us",
            "workflow_id",
            "run_id",
            "activity_id",
            "attempt",
            "call",
            name=op.f("pk_gpu_shares"),
        ),
    )
    op.create_table(
        "prices",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("book", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=255), nullable=False),
        sa.Column("pool", sa.String(length=64), nullable=False),
        sa.Column("input_price", sa.BigInteger(), nullable=True),
        sa.Column("cached_price", sa.BigInteger(), nullable=True),
        sa.Column("output_price", sa.BigInteger(), nullable=True),
        sa.Column("gpu_price", sa.BigInteger(), nullable=True),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("source", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(gpu_price IS NULL) = (input_price IS NOT NULL AND cached_price IS NOT NULL AND output_price IS NOT NULL)",
            name=op.f("ck_prices_basis"),
        ),
        sa.CheckConstraint(
            "input_price >= 0 AND cached_price >= 0 AND output_price >= 0 AND gpu_price >= 0",
            name=op.f("ck_prices_price"),
        ),
        sa.CheckConstraint("valid_until IS NULL OR valid_until > valid_from", name=op.f("ck_prices_period")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prices")),
        sa.UniqueConstraint("book", "model", "pool", "valid_from", name=op.f("uq_prices_book_model_pool_valid_from")),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("root", sa.String(length=64), nullable=False),
        sa.Column("parent", sa.String(length=64), nullable=True),
        sa.Column("workflow_id", sa.String(length=255), nullable=False),
        sa.Column("workflow", sa.String(length=255), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("path", sa.String(length=512), nullable=True),
        sa.Column("passed", sa.Boolean(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_runs_parent"), ["parent"], unique=False)
        batch_op.create_index(batch_op.f("ix_runs_root"), ["root"], unique=False)
        batch_op.create_index(batch_op.f("ix_runs_started_at"), ["started_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_runs_workflow_id"), ["workflow_id"], unique=False)

    op.create_table(
        "charges",
        sa.Column("workflow_id", sa.String(length=255), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("activity_id", sa.String(length=64), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("call", sa.Integer(), nullable=False),
        sa.Column("entry", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(length=16), nullable=True),
        sa.Column("run", sa.String(length=64), nullable=False),
        sa.Column("root", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("pool", sa.String(length=64), nullable=True),
        sa.Column("server", sa.String(length=255), nullable=True),
        sa.Column("rid", sa.String(length=64), nullable=True),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.Column("reserved_nano", sa.BigInteger(), nullable=False),
        sa.Column("reserved_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reserved_gpu_us", sa.BigInteger(), nullable=False),
        sa.Column("sent_tokens", sa.BigInteger(), nullable=True),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=True),
        sa.Column("output_tokens", sa.BigInteger(), nullable=True),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=True),
        sa.Column("queue_us", sa.BigInteger(), nullable=True),
        sa.Column("prefill_us", sa.BigInteger(), nullable=True),
        sa.Column("decode_us", sa.BigInteger(), nullable=True),
        sa.Column("entered_us", sa.BigInteger(), nullable=True),
        sa.Column("prefilled_us", sa.BigInteger(), nullable=True),
        sa.Column("finished_us", sa.BigInteger(), nullable=True),
        sa.Column("gpu_us", sa.BigInteger(), nullable=True),
        sa.Column("cost_nano", sa.BigInteger(), nullable=True),
        sa.Column("estimated", sa.Boolean(), nullable=False),
        sa.Column("input_price", sa.BigInteger(), nullable=False),
        sa.Column("cached_price", sa.BigInteger(), nullable=False),
        sa.Column("output_price", sa.BigInteger(), nullable=False),
        sa.Column("gpu_price", sa.BigInteger(), nullable=False),
        sa.Column("call_price", sa.BigInteger(), nullable=False),
        sa.Column("price_source", sa.String(length=64), nullable=True),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("seal", sa.Integer(), nullable=True),
        sa.Column("reserved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "entry > 0 OR cached_tokens IS NULL OR cached_tokens <= prompt_tokens", name=op.f("ck_charges_cached")
        ),
        sa.CheckConstraint("entry > 0 OR cost_nano IS NULL OR cost_nano >= 0", name=op.f("ck_charges_cost")),
        sa.CheckConstraint(
            "entry > 0 OR reasoning_tokens IS NULL OR reasoning_tokens <= output_tokens",
            name=op.f("ck_charges_reasoning"),
        ),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name=op.f("fk_charges_run")),
        sa.PrimaryKeyConstraint(
            "workflow_id", "run_id", "activity_id", "attempt", "call", "entry", name=op.f("pk_charges")
        ),
    )
    with op.batch_alter_table("charges", schema=None) as batch_op:
        batch_op.create_index(
            "ix_charges_estimated",
            ["reserved_at"],
            unique=False,
            sqlite_where=sa.text("estimated"),
            postgresql_where=sa.text("estimated"),
        )
        batch_op.create_index(
            "ix_charges_open",
            ["reserved_at"],
            unique=False,
            sqlite_where=sa.text("outcome IS NULL"),
            postgresql_where=sa.text("outcome IS NULL"),
        )
        batch_op.create_index("ix_charges_reserved_at", ["reserved_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_charges_root"), ["root"], unique=False)
        batch_op.create_index(batch_op.f("ix_charges_run"), ["run"], unique=False)
        batch_op.create_index("ix_charges_server_finished_us", ["server", "finished_us"], unique=False)
        batch_op.create_index(
            "uq_charges_used",
            ["workflow_id", "run_id", "activity_id", "call"],
            unique=True,
            sqlite_where=sa.text("outcome = 'used' AND entry = 0"),
            postgresql_where=sa.text("outcome = 'used' AND entry = 0"),
        )

    op.create_table(
        "seals",
        sa.Column("run", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("head", sa.String(length=64), nullable=False),
        sa.Column("sealed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name=op.f("fk_seals_run")),
        sa.PrimaryKeyConstraint("run", "number", name=op.f("pk_seals")),
    )
    op.create_table(
        "top_ups",
        sa.Column("account", sa.String(length=128), nullable=False),
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("nano", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("gpu_us", sa.BigInteger(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name=op.f("fk_top_ups_account")),
        sa.PrimaryKeyConstraint("account", "key", name=op.f("pk_top_ups")),
    )
