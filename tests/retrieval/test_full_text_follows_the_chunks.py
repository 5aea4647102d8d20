from sqlalchemy import text

from orchestrator.database import Database
from orchestrator.database.tables import collections as collections_table
from orchestrator_retrieval import FULLTEXT_DDL, Collections, Document, ensure_fulltext
from orchestrator_retrieval.fulltext import search_fulltext


async def matching(database: Database, query: str) -> int:
    async with database.read() as connection:
        numbers = (await connection.execute(collections_table.select())).scalars()
        found = [await search_fulltext(connection, number, query, 10) for number in numbers]
    return sum(map(len, found))


async def test_chunks_that_go_with_their_document_leave_the_index(database: Database, collections: Collections) -> None:
    await collections.create("t", "c")
    await collections.add("t", "c", [Document(name="a", text="apples"), Document(name="b", text="bananas")])
    await collections.add("t", "c", [Document(name="a", text="apricots")])
    await collections.remove("t", "c", "b")
    assert [await matching(database, word) for word in ("apples", "apricots", "bananas")] == [0, 1, 0]
    if database.dialect == "sqlite":
        async with database.begin() as connection:  # raises if the index isn't what the chunks say
            await connection.execute(
                text("INSERT INTO chunks_fulltext(chunks_fulltext, rank) VALUES ('integrity-check', 1)")
            )


async def test_the_ddl_can_be_repeated_and_indexes_what_is_there_already(
    database: Database, collections: Collections
) -> None:
    await collections.create("t", "c")
    await collections.add("t", "c", [Document(name="a", text="apples")])
    if database.dialect == "sqlite":  # as after a migration that copied the table: its triggers are gone
        async with database.begin() as connection:
            await connection.exec_driver_sql("DROP TRIGGER chunks_fulltext_insert")
            await connection.exec_driver_sql("DROP TABLE chunks_fulltext")
    else:
        async with database.begin() as connection:
            await connection.exec_driver_sql("ALTER TABLE chunks DROP COLUMN fulltext")
    async with database.begin() as connection:
        await ensure_fulltext(connection)
        for statement in FULLTEXT_DDL[database.dialect]:
            await connection.exec_driver_sql(statement)
    await collections.add("t", "c", [Document(name="b", text="apples and bananas")])
    assert [await matching(database, word) for word in ("apples", "bananas")] == [2, 1]


async def test_postgresql_searches_by_its_index(postgres_url: str) -> None:
    async with Database.open(postgres_url) as database, database.begin() as connection:
        await ensure_fulltext(connection)
        await connection.exec_driver_sql("SET enable_seqscan = off")
        plan = await connection.exec_driver_sql(
            "EXPLAIN SELECT id FROM chunks WHERE fulltext @@ to_tsquery('english', '''apples'' | ''pears''')"
        )
        assert "ix_chunks_fulltext" in "\n".join(plan.scalars())
