"""Whatever is done to rows after they were sealed, verifying finds it and says which seal."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from sqlalchemy import JSON, Boolean, ColumnElement, Integer, and_, delete, insert, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.database import Database
from orchestrator.database.tables import Moment, charges, seals
from orchestrator.ledger import BreakKind, verify
from orchestrator.usage import Outcome
from tests.receipts.books import START, Books, broken, sealed, verified

SEAL_KINDS = {BreakKind.ROW_CHANGED, BreakKind.ROW_REMOVED, BreakKind.ROW_ADDED}
UNHEALTHY = [HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much, HealthCheck.too_slow]


@pytest.fixture
async def ledger(database: Database) -> Database:
    """Three seals of run `a`, the last over a correction, and one of another run."""
    books = Books()
    for name in ("a", "b"):
        books.run(name)
    first = books.charge("a", 1)
    books.charge("a", 2, outcome=Outcome.FAILED, result=None, cached_tokens=None)
    books.charge("b", 1)
    await books.write(database)
    await sealed(database, "a")
    await sealed(database, "b")
    for row in (books.charge("a", 2, 2, gpu_us=77, gpu_price=3_600, cost_nano=0), books.correct(first, "facts")):
        async with database.begin() as connection:
            await books.add(connection, row)
        await sealed(database, "a")
    assert (await verified(database, "a")).ok
    assert (await verified(database, "b")).ok
    return database


def key_of(row: Any) -> ColumnElement[bool]:
    return and_(*(column == getattr(row, column.name) for column in charges.primary_key.columns))


async def rows_of(connection: AsyncConnection, run: str = "a") -> list[Any]:
    query = select(charges).where(charges.c.run == run).order_by(charges.c.seal, charges.c.activity_id)
    return list((await connection.execute(query)).all())


def values(column: Any) -> st.SearchStrategy[Any]:
    """Values of a column's type; of those that only some rows may have, the rest."""
    if column.name == "run":
        return st.just("b")
    if column.name == "outcome":
        return st.sampled_from(Outcome)
    if isinstance(column.type, Moment):
        return st.timedeltas(timedelta(0), timedelta(days=1)).map(lambda span: START + span)
    if isinstance(column.type, JSON):
        scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab\u00e9", max_size=3)
        return st.recursive(scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.just("k"), inner))
    if isinstance(column.type, Boolean):
        return st.booleans()
    if isinstance(column.type, Integer):
        return st.integers(0, 2_000)
    return st.text("abz19", min_size=1, max_size=12)


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, Any]:
    """A column, and what is written into it."""
    column = draw(st.sampled_from(list(charges.c)))
    return column.name, draw(st.none() | values(column) if column.nullable else values(column))


@given(change=changes(), place=st.integers(0, 3))
@settings(max_examples=150, deadline=None, suppress_health_check=UNHEALTHY)
async def test_any_field_of_any_row(ledger: Database, change: tuple[str, Any], place: int) -> None:
    name, value = change
    async with ledger.engine.connect() as connection:
        row = (await rows_of(connection))[place]
        if getattr(row, name) == value:
            reject()
        try:
            await connection.execute(update(charges).where(key_of(row)).values({name: value}))
        except DBAPIError:  # the database itself refuses it
            reject()
        found = broken(await verify(connection, "a"))
        await connection.rollback()
    assert [1 for kind, run, number in found if kind in SEAL_KINDS and (run, number) == ("a-w", row.seal)], found


async def test_every_column_counts(ledger: Database) -> None:
    for column in charges.c:
        async with ledger.engine.connect() as connection:
            row = (await rows_of(connection))[2]
            changed = update(charges).where(key_of(row)).values({column.name: changed_a_little(column, row)})
            await connection.execute(changed)
            found = broken(await verify(connection, "a"))
            await connection.rollback()
        kind = BreakKind.ROW_REMOVED if column.name in ("run", "seal") else BreakKind.ROW_CHANGED
        assert (kind, "a-w", 2) in found, column.name


def changed_a_little(column: Any, row: Any) -> Any:
    old = getattr(row, column.name)
    if isinstance(column.type, Moment):
        return old + timedelta(microseconds=1)
    if isinstance(column.type, JSON):
        return {**old, "text": "h\u00f6flicher"}
    if isinstance(column.type, Boolean):
        return not old
    if isinstance(column.type, Integer):
        return (old or 0) + 1
    return "b" if column.name == "run" else "other"


async def tampered(database: Database, *statements: Any) -> set[Any]:
    async with database.begin() as connection:
        for statement in statements:
            await connection.execute(statement)
    return broken(await verified(database, "a"))


def of_seal(number: int) -> ColumnElement[bool]:
    return and_(charges.c.run == "a", charges.c.seal == number)


async def test_a_row_removed(ledger: Database) -> None:
    found = await tampered(ledger, delete(charges).where(of_seal(2)))
    assert (BreakKind.ROW_REMOVED, "a-w", 2) in found
    assert not {number for kind, _, number in found if kind in SEAL_KINDS} - {2}


async def test_a_row_added_under_an_old_seal(ledger: Database) -> None:
    async with ledger.read() as connection:
        row = (await rows_of(connection))[2]
    more = dict(row._mapping) | {"activity_id": "9"}
    assert (BreakKind.ROW_ADDED, "a-w", 2) in await tampered(ledger, insert(charges).values(more))


async def test_a_row_added_without_a_seal(ledger: Database) -> None:
    async with ledger.read() as connection:
        row = (await rows_of(connection))[2]
    more = dict(row._mapping) | {"activity_id": "9", "seal": None, "cost_nano": 0}
    assert (BreakKind.UNSEALED, "a-w", None) in await tampered(ledger, insert(charges).values(more))


async def test_a_row_swapped_for_another(ledger: Database) -> None:
    found = await tampered(ledger, update(charges).where(of_seal(2)).values(activity_id="9"))
    assert found == {(BreakKind.ROW_CHANGED, "a-w", 2)}


async def test_a_head_changed(ledger: Database) -> None:
    found = await tampered(ledger, update(seals).where(seals.c.run == "a", seals.c.number == 2).values(head="0" * 64))
    assert found == {(BreakKind.SEAL_CHANGED, "a-w", 2)}


async def test_the_last_head_changed(ledger: Database) -> None:
    found = await tampered(ledger, update(seals).where(seals.c.run == "a", seals.c.number == 3).values(head="0" * 64))
    assert found == {(BreakKind.ROW_CHANGED, "a-w", 3)}


async def test_a_count_changed(ledger: Database) -> None:
    found = await tampered(ledger, update(seals).where(seals.c.run == "a", seals.c.number == 1).values(rows=7))
    assert found == {(BreakKind.SEAL_CHANGED, "a-w", 1)}


async def test_a_seal_removed(ledger: Database) -> None:
    for number in (1, 2, 3):
        async with ledger.begin() as connection:
            gone = delete(seals).where(seals.c.run == "a", seals.c.number == number)
            await connection.execute(gone)
            found = broken(await verify(connection, "a"))
            await connection.rollback()
        assert found == {(BreakKind.SEAL_MISSING, "a-w", number)}


async def test_a_seal_removed_with_its_rows(ledger: Database) -> None:
    gone = delete(seals).where(seals.c.run == "a", seals.c.number == 2)
    found = await tampered(ledger, delete(charges).where(of_seal(2)), gone)
    assert (BreakKind.SEAL_MISSING, "a-w", 2) in found


async def test_all_seals_removed(ledger: Database) -> None:
    found = await tampered(
        ledger, delete(seals).where(seals.c.run == "a"), update(charges).where(charges.c.run == "a").values(seal=None)
    )
    assert found == {(BreakKind.UNSEALED, "a-w", None)}


async def test_a_chain_written_anew_by_a_head_that_was_kept(ledger: Database) -> None:
    async with ledger.read() as connection:
        heads = (await connection.execute(select(seals.c.head).where(seals.c.run == "a"))).scalars().all()
    assert (await verified(ledger, "a", fingerprints=heads)).ok
    await tampered(
        ledger,
        delete(seals).where(seals.c.run == "a"),
        update(charges).where(charges.c.run == "a").values(seal=None, server="elsewhere"),
    )
    await sealed(ledger, "a")
    assert (await verified(ledger, "a")).ok
    found = broken(await verified(ledger, "a", fingerprints=heads[:1]))
    assert found == {(BreakKind.UNKNOWN_FINGERPRINT, None, None)}
