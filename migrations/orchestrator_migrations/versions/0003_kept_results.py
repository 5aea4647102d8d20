"""Results that are handed out again, and what that saves."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Seals leave out what is null, so that those of rows written before stay as they are.
    op.add_column("charges", sa.Column("saved_nano", sa.BigInteger(), nullable=True))
    op.add_column("charges", sa.Column("saved_tokens", sa.BigInteger(), nullable=True))
    op.create_table(
        "kept_results",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("cost_nano", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_kept_results")),
    )
    with op.batch_alter_table("kept_results", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_kept_results_expires_at"), ["expires_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_kept_results_made_at"), ["made_at"], unique=False)
