"""Bringing a database to a version of the schema."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from orchestrator.database import Database

__all__ = ["VERSION_TABLE", "head", "upgrade", "version"]

VERSION_TABLE = "orchestrator_schema_version"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config


def head() -> str:
    """The version that this installation's code needs."""
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    assert newest is not None
    return newest


async def version(database: Database) -> str | None:
    """The version that a database is at; `None` before the first upgrade."""

    def read(connection: Connection) -> str | None:
        return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()

    async with database.read() as connection:
        return await connection.run_sync(read)


async def upgrade(database: Database) -> None:
    """Brings a database to `head()`; does nothing where it is there."""

    def run(connection: Connection) -> None:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    if await version(database) != head():
        async with database.begin() as connection:
            await connection.run_sync(run)
