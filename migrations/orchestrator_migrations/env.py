"""Alembic's entry: runs within the connection and transaction that `upgrade` hands over."""

from typing import Any

from alembic import context

from orchestrator.database.tables import metadata
from orchestrator_migrations.upgrade import VERSION_TABLE

connection: Any = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, version_table=VERSION_TABLE, render_as_batch=True)
context.run_migrations()
