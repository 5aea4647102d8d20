"""One async engine for SQLite or PostgreSQL, set up so that transactions mean the same on both."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Table, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from orchestrator.errors import ConfigurationError

__all__ = ["Database", "now"]

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}


def now() -> datetime:
    """The present, in UTC."""
    return datetime.now(UTC)


class Database:
    """A pool of connections. `begin()` is a writing transaction, `read()` and `snapshot()` are reading ones."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.dialect = engine.dialect.name

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, *, pool_size: int = 10) -> "AsyncGenerator[Database]":
        """Connects lazily; closes every connection at the end.

        Raises:
            ConfigurationError: the URL is malformed or of another database.
        """
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise ConfigurationError(
                "the database URL can't be read",
                remedy="Write sqlite+aiosqlite:///FILE or postgresql://USER@HOST/NAME.",
            ) from error
        kind = parsed.get_backend_name()
        if kind not in DRIVERS:
            raise ConfigurationError(f"there is no support for a {kind} database", remedy="Use SQLite or PostgreSQL.")
        parsed = parsed.set(drivername=DRIVERS[kind])
        if kind == "sqlite":
            if parsed.database:
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            # Each call of the driver is a hop to its thread and back, so none is made that says nothing.
            engine = create_async_engine(
                parsed, pool_size=pool_size, pool_reset_on_return=None, connect_args={"timeout": 30}
            )
            _set_up_sqlite(engine)
        else:
            engine = create_async_engine(parsed, pool_size=pool_size, pool_pre_ping=True)
        try:
            yield cls(engine)
        finally:
            await engine.dispose()

    @asynccontextmanager
    async def begin(self, *, writes_first: bool = False) -> AsyncGenerator[AsyncConnection]:
        """A transaction that may write.

        On SQLite it holds the write lock from the start; `writes_first` says that its first statement writes, which
        takes the lock just as well, and saves a statement.
        """
        async with self.engine.connect() as connection:
            if self.dialect == "sqlite" and not writes_first:
                connection = await connection.execution_options(sqlite_begin=True)
            async with connection.begin():
                yield connection

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[AsyncConnection]:
        """A transaction that only reads."""
        async with self.engine.connect() as connection:
            yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncGenerator[AsyncConnection]:
        """A transaction that only reads, and in which all statements see the same moment; it holds up no writer."""
        async with self.engine.connect() as connection:
            if self.dialect == "sqlite":
                await connection.exec_driver_sql("BEGIN")
            else:
                connection = await connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    def insert(self, table: Table) -> Any:
        """The dialect's `INSERT`, which knows `on_conflict_do_nothing` on both."""
        make: Callable[[Table], Any] = sqlite.insert if self.dialect == "sqlite" else postgresql.insert
        return make(table)


def _set_up_sqlite(engine: AsyncEngine) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        connection.isolation_level = "IMMEDIATE"  # of the transaction that the driver begins before a write
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=30000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def on_begin(connection: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        if connection.get_execution_options().get("sqlite_begin"):
            connection.exec_driver_sql("BEGIN IMMEDIATE")
