"""A tenant's day and month begin at midnight, UTC; and none begins twice, though a clock goes backwards."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator import Usage
from orchestrator.budget import Allowance
from orchestrator.database import Database
from orchestrator.errors import BudgetExceeded
from orchestrator.ledger import Bound, Period, Price, set_limit, tenant_limits
from orchestrator.ledger.accounts import period_start
from orchestrator.usage import Outcome
from tests.ledger.books import Books

A_TOKEN = Price(input=1_000_000, output=1_000_000, source="a nano-dollar a token")
NOON = datetime(2026, 1, 30, 12, tzinfo=UTC)


@dataclass
class Clock:
    """Where the ledger's clock is to stand."""

    present: datetime = NOON

    def __call__(self) -> datetime:
        return self.present


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in ("accounts", "charges", "corrections"):
        monkeypatch.setattr(f"orchestrator.ledger.{module}.now", clock)
    return clock


async def _spend(books: Books, step: int, tokens: int) -> None:
    reservation = await books.reserve(step, bound=Bound(tokens=tokens, nano=tokens), price=A_TOKEN)
    await books.settle(reservation, Outcome.USED, Usage(output=tokens), result={})


async def _left(database: Database, tenant: str) -> dict[Period, tuple[int, int, int]]:
    """Tokens and calls that count as spent, and tokens reserved, by period."""
    limits = await tenant_limits(database, tenant)
    return {limit.period: (limit.spent.tokens, limit.spent.calls, limit.reserved.tokens) for limit in limits}


def test_a_period_starts_at_midnight_in_utc() -> None:
    late = datetime(2026, 3, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert period_start("day", late) == datetime(2026, 2, 28, tzinfo=UTC)
    assert period_start("month", late) == datetime(2026, 2, 1, tzinfo=UTC)


async def test_what_was_spent_before_counts_no_more(database: Database, clock: Clock) -> None:
    books = Books.of_a_new_run(database)
    tenant = books.scope.tenant
    await set_limit(database, tenant, "day", Allowance(tokens=10))
    await set_limit(database, tenant, "month", Allowance(tokens=25, calls=4))
    await _spend(books, 1, 10)
    with pytest.raises(BudgetExceeded, match="for this day"):
        await _spend(books, 2, 1)
    clock.present += timedelta(hours=12)
    assert await _left(database, tenant) == {"day": (0, 0, 0), "month": (10, 1, 0)}
    await _spend(books, 2, 10)
    assert await _left(database, tenant) == {"day": (10, 1, 0), "month": (20, 2, 0)}
    clock.present += timedelta(hours=23)
    with pytest.raises(BudgetExceeded, match="for this day"):
        await _spend(books.elsewhere(), 3, 6)
    clock.present += timedelta(hours=1)
    assert await _left(database, tenant) == {"day": (0, 0, 0), "month": (0, 0, 0)}
    await _spend(books, 3, 10)
    assert await _left(database, tenant) == {"day": (10, 1, 0), "month": (10, 1, 0)}
    await books.check()


async def test_what_is_open_goes_over_into_the_new_one(database: Database, clock: Clock) -> None:
    books = Books.of_a_new_run(database)
    tenant = books.scope.tenant
    await set_limit(database, tenant, "day", Allowance(tokens=10))
    reservation = await books.reserve(1, bound=Bound(tokens=8), price=A_TOKEN)
    clock.present += timedelta(days=1)
    assert await _left(database, tenant) == {"day": (0, 0, 8)}
    with pytest.raises(BudgetExceeded):
        await _spend(books, 2, 3)
    await books.settle(reservation, Outcome.USED, Usage(output=7))
    assert await _left(database, tenant) == {"day": (7, 0, 0)}
    await books.check()


async def test_a_clock_that_goes_back_begins_nothing_anew(database: Database, clock: Clock) -> None:
    books = Books.of_a_new_run(database)
    tenant = books.scope.tenant
    await set_limit(database, tenant, "day", Allowance(tokens=10))
    clock.present += timedelta(days=1)
    await _spend(books, 1, 9)
    clock.present -= timedelta(days=1)
    with pytest.raises(BudgetExceeded):
        await _spend(books, 2, 2)
    await _spend(books, 2, 1)
    assert await _left(database, tenant) == {"day": (10, 2, 0)}
    clock.present += timedelta(days=1, hours=1)
    with pytest.raises(BudgetExceeded):
        await _spend(books, 3, 1)


async def test_a_limit_that_is_set_in_mid_month_starts_from_its_beginning(database: Database, clock: Clock) -> None:
    books = Books.of_a_new_run(database)
    clock.present = datetime(2026, 1, 31, 23, 59, tzinfo=UTC)
    await _spend(books, 1, 5)
    over_midnight = await books.reserve(2, bound=Bound(tokens=9), price=A_TOKEN)
    clock.present = datetime(2026, 2, 1, 0, 1, tzinfo=UTC)
    await books.settle(over_midnight, Outcome.USED, Usage(output=7))
    await _spend(books, 3, 11)
    clock.present = datetime(2026, 2, 2, 12, tzinfo=UTC)
    await books.reserve(4, bound=Bound(tokens=3))
    await set_limit(database, books.scope.tenant, "month", Allowance(tokens=100))
    await set_limit(database, books.scope.tenant, "day", Allowance(tokens=100))
    assert await _left(database, books.scope.tenant) == {"day": (0, 1, 3), "month": (18, 2, 3)}


@dataclass(frozen=True)
class Move:
    """The clock goes on or back by some hours, and then some tokens are spent."""

    hours: int
    tokens: int


moves = st.builds(Move, st.integers(-30, 400), st.integers(0, 20))


@given(sequence=st.lists(moves, max_size=8), limited_after=st.integers(0, 8), period=st.sampled_from(["day", "month"]))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_account_is_what_was_spent_since_the_latest_beginning(
    database: Database, clock: Clock, sequence: list[Move], limited_after: int, period: Period
) -> None:
    clock.present = NOON
    books = Books.of_a_new_run(database)
    spent: list[tuple[datetime, int]] = []
    start: datetime | None = None
    for number, move in enumerate(sequence):
        clock.present += timedelta(hours=move.hours)
        if number == limited_after:
            start = period_start(period, clock.present)
            spent = [(at, tokens) for at, tokens in spent if at >= start]
            await set_limit(database, books.scope.tenant, period, Allowance(tokens=10**6))
        await _spend(books, number, move.tokens)
        begun = period_start(period, clock.present)
        if start is not None and begun > start:
            start, spent = begun, []
        spent.append((clock.present, move.tokens))
    if start is not None:
        ((tokens, _, reserved),) = (await _left(database, books.scope.tenant)).values()
        assert (tokens, reserved) == (sum(tokens for _, tokens in spent), 0)
