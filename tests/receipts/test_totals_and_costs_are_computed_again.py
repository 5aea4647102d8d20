"""Verifying holds accounts, costs, outcomes and token counts against the rows."""

from typing import Any

import pytest
from sqlalchemy import delete, text, update

from orchestrator.database import Database
from orchestrator.database.tables import accounts, charges, runs
from orchestrator.errors import DamagedLedger, UnknownName
from orchestrator.ledger import BreakKind, CheckName
from orchestrator.steps import RunStatus
from orchestrator.usage import Outcome
from tests.receipts.books import Books, broken, verified


async def family(database: Database) -> Books:
    """A run that goes on, with a child and a grandchild."""
    books = Books()
    for name, parent in (("a", None), ("b", "a"), ("c", "b")):
        books.run(name, parent=parent, status=RunStatus.RUNNING, closed_at=None)
        books.charge(name, 1)
    books.opened("c", 2)
    books.charge("b", 2, kind="tool", name="search", call_price=50, cost_nano=50, **NO_TOKENS)
    books.charge("b", 3, gpu_us=1_500_001, gpu_price=2_400_000_000, cost_nano=1_000_001)
    await books.write(database)
    return books


NO_TOKENS: dict[str, Any] = dict.fromkeys(("prompt_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"))


async def broken_by(database: Database, *statements: Any, run: str = "a") -> set[Any]:
    async with database.begin() as connection:
        for statement in statements:
            await connection.execute(statement)
    return broken(await verified(database, run))


async def test_all_holds_where_all_is_right(database: Database) -> None:
    await family(database)
    made = await verified(database, "a-w")
    assert made.ok
    assert {check.name: check.examined for check in made.checks} == {
        CheckName.SEALS: 0,
        CheckName.SPENT: 3,
        CheckName.RESERVED: 3,
        CheckName.COSTS: 5,
        CheckName.USED_ONCE: 5,
        CheckName.PARTS: 5,
    }


@pytest.mark.parametrize("name", ["spent_nano", "spent_tokens", "spent_gpu_us", "calls", "reserved_nano"])
async def test_an_account_that_differs(database: Database, name: str) -> None:
    await family(database)
    more = update(accounts).where(accounts.c.id == "b").values({name: accounts.c[name] + 1})
    found = await broken_by(database, more)
    assert found == {(BreakKind.TOTAL_DIFFERS, "b-w", None)}
    assert (await verified(database, "c")).ok


async def test_a_difference_is_said_with_its_figures(database: Database) -> None:
    books = Books()
    books.charge(books.run("a", status=RunStatus.RUNNING), 1, cost_nano=208_000)
    await books.write(database)
    async with database.begin() as connection:
        await connection.execute(update(accounts).values(spent_nano=1_208_000, reserved_gpu_us=7))
    problems = {item.problem for check in (await verified(database, "a")).checks for item in check.breaks}
    assert problems == {
        "its account says $0.001208000 spent, and the rows add up to $0.000208000 spent",
        "its account says 7 µs of GPU time reserved, and the rows add up to 0 µs of GPU time reserved",
    }


async def test_a_grandchilds_row_counts_for_all_above_it_once(database: Database) -> None:
    await family(database)
    gone = delete(charges).where(charges.c.run == "c", charges.c.outcome.is_not(None))
    found = await broken_by(database, gone)
    assert found == {(BreakKind.TOTAL_DIFFERS, f"{run}-w", None) for run in "abc"}


async def test_an_account_that_is_gone(database: Database) -> None:
    await family(database)
    found = await broken_by(database, delete(accounts).where(accounts.c.id == "b"))
    assert found == {(BreakKind.NO_ACCOUNT, "b-w", None)}


@pytest.mark.parametrize(("step", "name"), [("2", "call_price"), ("3", "gpu_us"), ("1", "cached_price")])
async def test_a_cost_that_its_prices_and_usage_dont_make(database: Database, step: str, name: str) -> None:
    await family(database)
    row = update(charges).where(charges.c.run == "b", charges.c.activity_id == step)
    found = await broken_by(database, row.values({name: 1_000_000_000}), run="b")
    assert (BreakKind.COST_DIFFERS, "b-w", None) in found


async def test_corrections_need_not_be_what_their_own_figures_cost(database: Database) -> None:
    books = Books()
    row = books.charge(books.run("a", status=RunStatus.RUNNING))
    books.correct(row, "late", output_tokens=-3, cost_nano=-23_999)
    await books.write(database)
    assert (await verified(database, "a")).ok


async def test_a_step_that_is_used_twice(database: Database) -> None:
    async with database.begin() as connection:
        await connection.execute(text("DROP INDEX uq_charges_used"))  # which admits no such thing
    books = Books()
    books.run("a", status=RunStatus.RUNNING)
    books.charge("a", 1, 1)
    books.charge("a", 1, 2)
    books.charge("a", 1, 2, call=1)
    await books.write(database)
    assert broken(await verified(database, "a")) == {(BreakKind.USED_TWICE, "a-w", None)}


async def test_a_discarded_answer_is_used_no_more(database: Database) -> None:
    books = Books()
    row = books.charge(books.run("a", status=RunStatus.RUNNING))
    figures = {name: row[name] for name in ("prompt_tokens", "cached_tokens", "output_tokens", "cost_nano")}
    books.correct(row, "discard", outcome=Outcome.USED, **{name: -figure for name, figure in figures.items()})
    books.correct(row, "discard", outcome=Outcome.DISCARDED, **figures)
    await books.write(database)
    assert (await verified(database, "a")).ok


async def test_more_cached_tokens_than_the_prompt_had(database: Database) -> None:
    books = Books()
    row = books.charge(books.run("a", status=RunStatus.RUNNING))
    books.correct(row, "facts", cached_tokens=61)
    books.correct(row, "facts", cached_tokens=-1, reasoning_tokens=7)
    await books.write(database)
    made = await verified(database, "a")
    assert broken(made) == {(BreakKind.PART_EXCEEDS_WHOLE, "a-w", None)}
    (problem,) = [item.problem for check in made.checks for item in check.breaks]
    assert problem == "step 1 of execution a, attempt 1 has 11 reasoning tokens, and 10 output tokens in all"


async def test_rows_that_are_no_figures(sqlite_url: str) -> None:
    async with Database.open(sqlite_url) as database:
        await family(database)
        async with database.begin() as connection:  # SQLite stores whatever it is given
            await connection.execute(text("UPDATE charges SET prompt_tokens = 'many' WHERE run = 'c' AND entry = 0"))
        with pytest.raises(DamagedLedger, match="'a-w'"):
            await verified(database, "a")


async def test_an_unknown_run(database: Database) -> None:
    await family(database)
    with pytest.raises(UnknownName, match="did you mean 'a-w'"):
        await verified(database, "a-v")
    for name in ("", "none\0", "\udcff"):
        with pytest.raises(UnknownName):
            await verified(database, name)


async def test_runs_that_started_one_another_in_a_circle_end(database: Database) -> None:
    await family(database)
    found = await broken_by(database, update(runs).where(runs.c.id == "a").values(parent="c"))
    assert found == set()
