from sqlalchemy import func, insert, select

from orchestrator.database import Database, now
from orchestrator.database.tables import blobs


async def store(database: Database, name: str) -> None:
    row = {"tenant": "default", "hash": name, "size": 1, "body": b"x", "created_at": now()}
    async with database.begin() as connection:
        await connection.execute(insert(blobs), row)


async def test_while_others_write(database: Database) -> None:
    count = select(func.count()).select_from(blobs)
    await store(database, "1")
    async with database.snapshot() as connection:
        assert (await connection.execute(count)).scalar() == 1
        await store(database, "2")
        assert (await connection.execute(count)).scalar() == 1
    async with database.snapshot() as connection:
        assert (await connection.execute(count)).scalar() == 2


async def test_and_leaves_its_connection_as_it_was(database: Database) -> None:
    count = select(func.count()).select_from(blobs)
    for number in range(12):  # more than the pool holds
        async with database.snapshot() as connection:
            await connection.execute(count)
        await store(database, str(number))
        async with database.read() as connection:
            assert (await connection.execute(count)).scalar() == number + 1
    if database.dialect == "postgresql":
        async with database.read() as connection:
            assert (await connection.exec_driver_sql("SHOW transaction_isolation")).scalar() == "read committed"
