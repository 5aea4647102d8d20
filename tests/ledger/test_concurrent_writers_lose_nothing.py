"""Workers, sweepers, tenants and runs at once: afterwards, the books are as if one had come after the other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, get_args

import pytest
from anyio import create_task_group, fail_after
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError

from orchestrator import Budget, Usage
from orchestrator.budget import Allowance
from orchestrator.database import Database
from orchestrator.errors import BudgetExceeded
from orchestrator.ledger import Attempt, Bound, Replayed, Reservation, Sweeper, clear_limit, set_limit, verify
from orchestrator.ledger.corrections import correct, locked_rows
from orchestrator.ledger.rows import Reason
from orchestrator.ledger.seals import last_seal
from orchestrator.steps import RunStatus, TopUp
from orchestrator.usage import Outcome
from tests.ledger.books import PRICE, Books

MOST = Usage(prompt=40, output=20)
BOUND = Bound(tokens=MOST.total, nano=PRICE.cost(MOST))

What = Literal["take", "leave open", "settle again", "discard", "sweep", "top up", "limit", "unlimit", "close"]


@dataclass(frozen=True)
class Move:
    what: What
    run: int
    step: int
    attempt: int
    outcome: Outcome
    output: int


moves = st.builds(
    Move,
    st.sampled_from(("take", *get_args(What))),
    st.integers(0, 2),
    st.integers(1, 2),
    st.integers(1, 3),
    st.sampled_from([Outcome.USED, Outcome.RETRIED, Outcome.CANCELLED]),
    st.integers(0, 20),
)
workers = st.lists(st.lists(moves, min_size=2, max_size=6), min_size=2, max_size=5)


class Worker:
    """Makes its moves one after the other; the others are made meanwhile."""

    def __init__(self, runs: Sequence[Books], reserved: list[tuple[Books, Reservation]]) -> None:
        self._runs = [books.elsewhere() for books in runs]
        self._reserved = reserved
        self._tenant = runs[0].scope.tenant

    async def work(self, script: Sequence[Move]) -> None:
        for move in script:
            try:
                await self._make(move, self._runs[move.run])
            except BudgetExceeded:
                continue

    async def _make(self, move: Move, books: Books) -> None:
        match move.what:
            case "take" | "leave open":
                answer = await books.ask(move.step, move.attempt, bound=BOUND, died=Usage(prompt=40))
                if not isinstance(answer, Replayed):
                    self._reserved.append((books, answer))
                    if move.what == "take":
                        await self._settle(books, answer, move)
            case "settle again":
                for each, reservation in self._reserved[-2:]:
                    await self._settle(each, reservation, move)
            case "discard":
                await books.ledger.discard([books.attempt(step, 1) for step in (2, 1)])
            case "sweep":
                await _sweep(books.database, lambda attempt: attempt.attempt == move.attempt)
            case "top up":
                await books.ledger.top_up(books.scope, f"key-{move.step}", TopUp(tokens=60))
            case "limit":
                limit = Allowance(tokens=60 * (1 + move.output))
                await set_limit(books.database, self._tenant, "day" if move.step == 1 else "month", limit)
            case "unlimit":
                await clear_limit(books.database, self._tenant, "day" if move.step == 1 else "month")
            case "close":
                await books.ledger.close_run(books.scope, RunStatus.COMPLETED, None)

    async def _settle(self, books: Books, reservation: Reservation, move: Move) -> None:
        usage = Usage(prompt=40, cached=move.output, output=move.output)
        try:
            await books.settle(reservation, move.outcome, usage, result={"text": "x"})
        except IntegrityError:  # another attempt was used
            await books.settle(reservation, Outcome.RETRIED, usage)


async def _sweep(database: Database, over: Callable[[Attempt], bool]) -> None:
    async def is_over(attempt: Attempt) -> bool:
        return over(attempt)

    await Sweeper(database, is_over=is_over).sweep(young=timedelta(0))


@given(scripts=workers, budget=st.none() | st.builds(Budget, tokens=st.integers(60, 300)))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_they_do(database: Database, scripts: list[list[Move]], budget: Budget | None) -> None:
    top = Books.of_a_new_run(database, budget=budget)
    child = top.child(budget=Budget(tokens=240))
    runs = (top, child, child.child())
    for books in runs:
        await books.ledger.top_up(books.scope, "before", TopUp(tokens=1))
    reserved: list[tuple[Books, Reservation]] = []
    async with create_task_group() as group:
        for script in scripts:
            group.start_soon(Worker(runs, reserved).work, script)
    await top.check()
    await _sweep(database, lambda _: True)
    await top.check()
    for books in runs:
        account = await books.account()
        assert (account.reserved_nano, account.reserved_tokens) == (0, 0)


async def test_a_limit_that_comes_and_goes_misses_no_movement(database: Database) -> None:
    books = Books.of_a_new_run(database)
    tenant, writers = books.scope.tenant, 6

    async def write(number: int) -> None:
        mine = books.elsewhere()
        for turn in range(8):
            reservation = await mine.reserve(10 * number + turn, bound=BOUND)
            if turn % 4 != 3:
                await mine.settle(reservation, Outcome.USED, Usage(prompt=number, output=turn))

    async def limit() -> None:
        for _ in range(8):
            for period in ("day", "month"):
                await set_limit(database, tenant, period, Allowance(tokens=10**9))
            await books.check()
            await clear_limit(database, tenant, "day")

    async with create_task_group() as group:
        for number in range(writers):
            group.start_soon(write, number)
        group.start_soon(limit)
    await set_limit(database, tenant, "day", Allowance(tokens=10**9))
    await books.check()


async def test_a_run_ends_while_one_of_its_calls_is_corrected(database: Database) -> None:
    books = Books.of_a_new_run(database)
    await books.settle(await books.reserve(1, bound=BOUND), Outcome.USED, Usage(prompt=40, output=5))
    used = books.attempt(1, 1)
    if database.dialect == "sqlite":
        pytest.skip("one transaction writes at a time")
    async with database.begin() as connection:
        rows = await locked_rows(connection, used)
        with fail_after(10):
            await books.elsewhere().ledger.close_run(books.scope, RunStatus.COMPLETED, None)
        await correct(connection, rows[0], Reason.ATTRIBUTION, {"gpu_us": 7})
    await books.check()
    async with database.snapshot() as connection:
        verified = await verify(connection, books.scope.run)
        newest = await last_seal(connection, books.scope.run)
    assert verified.ok
    assert newest is not None
    assert (newest.number, newest.rows) == (2, 1)
