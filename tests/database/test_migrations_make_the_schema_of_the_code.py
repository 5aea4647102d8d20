from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

import orchestrator_migrations
from orchestrator.database import Database
from orchestrator.database.tables import metadata
from orchestrator_migrations.upgrade import VERSION_TABLE


async def _differences(database: Database) -> list[Any]:
    def compare(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
        return compare_metadata(context, metadata)

    async with database.read() as connection:
        return await connection.run_sync(compare)


async def test_on_sqlite(tmp_path: Path) -> None:
    async with Database.open(f"sqlite:///{tmp_path}/new.db") as database:
        assert await orchestrator_migrations.version(database) is None
        await orchestrator_migrations.upgrade(database)
        assert await orchestrator_migrations.version(database) == orchestrator_migrations.head()
        assert await _differences(database) == []


async def test_on_postgresql(empty_postgres_url: str) -> None:
    async with Database.open(empty_postgres_url) as database:
        await orchestrator_migrations.upgrade(database)
        assert await _differences(database) == []


async def test_upgrading_twice_changes_nothing(tmp_path: Path) -> None:
    async with Database.open(f"sqlite:///{tmp_path}/new.db") as database:
        await orchestrator_migrations.upgrade(database)
        await orchestrator_migrations.upgrade(database)
        assert await orchestrator_migrations.version(database) == orchestrator_migrations.head()
