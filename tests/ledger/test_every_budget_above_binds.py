"""A step must fit the budget of its run, of each run above it, and of its tenant; and counts once in each of them."""

from decimal import Decimal

import pytest

from orchestrator import Budget, Usage
from orchestrator.budget import Allowance
from orchestrator.database import Database
from orchestrator.errors import BudgetExceeded
from orchestrator.ledger import FREE, Bound, Kind, Price, clear_limit, set_limit, tenant_limits
from orchestrator.steps import TopUp
from orchestrator.usage import Outcome
from tests.ledger.books import PRICE, Books

USAGE = Usage(prompt=30, cached=10, output=5)
BOUND = Bound(tokens=60, nano=1_000_000)
TOOL = Kind(kind="tool", name="search")


async def _refusal(books: Books, step: int = 99, *, bound: Bound = BOUND, **more: object) -> BudgetExceeded:
    with pytest.raises(BudgetExceeded) as caught:
        await books.ask(step, bound=bound, **more)  # pyright: ignore[reportArgumentType]
    return caught.value


async def test_a_childs_own(database: Database) -> None:
    top = Books.of_a_new_run(database, budget=Budget(tokens=1_000))
    child = top.child(budget=Budget(tokens=100))
    await child.reserve(1, bound=BOUND)
    refusal = await _refusal(child)
    assert (refusal.account, refusal.whose) == (child.scope.run, "the run's budget")
    await top.reserve(1, bound=BOUND)
    await top.check()


async def test_that_of_each_run_above(database: Database) -> None:
    top = Books.of_a_new_run(database, budget=Budget(tokens=100))
    child = top.child(budget=Budget(tokens=1_000)).elsewhere()
    grandchild = child.child()
    await grandchild.reserve(1, bound=BOUND)
    for books in (grandchild, child, top.child()):
        refusal = await _refusal(books)
        assert (refusal.account, refusal.whose) == (top.scope.run, "the budget of the run that started it")
    assert (await _refusal(top)).whose == "the run's budget"
    await grandchild.reserve(2, bound=Bound(tokens=40))
    await top.check()


async def test_what_it_takes_counts_once_in_each_and_in_no_other(database: Database) -> None:
    top, other = Books.of_a_new_run(database), Books.of_a_new_run(database)
    child = top.child()
    grandchild, sibling = child.child(), top.child()
    for books in (top, child, grandchild, sibling, other):
        await books.used(usage=USAGE, bound=BOUND)
    for books, steps in ((top, 4), (child, 2), (grandchild, 1), (sibling, 1), (other, 1)):
        account = await books.account()
        assert (account.spent_nano, account.calls) == (steps * PRICE.cost(USAGE), steps)
    assert {row.root for row in await grandchild.rows()} == {top.scope.run}
    await top.check()


async def test_that_of_the_tenant_in_all_its_runs(database: Database) -> None:
    first = Books.of_a_new_run(database)
    await set_limit(database, first.scope.tenant, "month", Allowance(tokens=100))
    second = Books.of_a_new_run(database, tenant=first.scope.tenant)
    await first.reserve(bound=BOUND)
    for books in (first, second, second.child()):
        refusal = await _refusal(books)
        assert refusal.whose == f"the limit of tenant {first.scope.tenant!r} for this month"
    await Books.of_a_new_run(database).reserve(bound=BOUND)  # another tenant's
    await first.check()


async def test_the_least_that_is_left_is_said(database: Database) -> None:
    """So that a closing answer can be cut to it."""
    top = Books.of_a_new_run(database, budget=Budget(tokens=100, usd=Decimal("0.01")))
    child = top.child(budget=Budget(tokens=80))
    await top.reserve(bound=Bound(tokens=60, nano=4_000_000))
    refusal = await _refusal(child, bound=Bound(tokens=50, nano=1_000))
    assert (refusal.left_tokens, refusal.left_nano) == (40, 6_000_000)


@pytest.mark.parametrize(
    ("budget", "most", "limit", "needed"),
    [
        (Budget(calls=3), Bound(), "calls", "1 call"),
        (Budget(gpu_seconds=Decimal("0.0003")), Bound(gpu_us=100), "gpu_seconds", "0.000100 GPU-seconds"),
        (Budget(tokens=30), Bound(tokens=10), "tokens", "10 tokens"),
        (Budget(usd=Decimal("0.000000003")), Bound(nano=1), "usd", "$0.000000001"),
    ],
)
async def test_each_thing_that_can_be_limited(
    database: Database, budget: Budget, most: Bound, limit: str, needed: str
) -> None:
    books = Books.of_a_new_run(database, budget=budget)
    for step in range(3):
        await books.reserve(step, bound=most)
    refusal = await _refusal(books, bound=most)
    assert (refusal.limit, refusal.needed) == (limit, needed)
    await books.reserve(98, what=TOOL, price=FREE)  # it needs none of it
    await books.check()


async def test_failed_and_retried_calls_count_as_calls(database: Database) -> None:
    books = Books.of_a_new_run(database, budget=Budget(calls=2))
    await books.settle(await books.reserve(1, 1), Outcome.RETRIED)
    await books.settle(await books.reserve(1, 2), Outcome.FAILED)
    assert (await _refusal(books)).spent == "2 calls"
    await books.check()


async def test_gpu_time_is_what_was_really_taken_once_it_is_settled(database: Database) -> None:
    price = Price(gpu=7_200_000_000_000, source="a GPU")
    books = Books.of_a_new_run(database, budget=Budget(gpu_seconds=Decimal("0.001"), usd=Decimal("0.002")))
    first = await books.reserve(bound=Bound(gpu_us=900, nano=1_800_000), price=price)
    assert (await _refusal(books, bound=Bound(gpu_us=101))).limit == "gpu_seconds"
    await books.settle(first, Outcome.USED, USAGE, gpu_us=300, result={})
    account = await books.account()
    assert (account.spent_gpu_us, account.spent_nano) == (300, 600_000)
    await books.reserve(2, bound=Bound(gpu_us=700, nano=1_400_000), price=price)
    await books.check()


class TestTheShareForTheAnswer:
    BUDGET = Budget(
        tokens=1_000, usd=Decimal("0.01"), reserve_for_answer=Decimal("0.25"), on_exhausted="finish"
    )  # fmt: skip

    async def test_only_closing_steps_may_take_it(self, database: Database) -> None:
        books = Books.of_a_new_run(database, budget=self.BUDGET)
        await books.reserve(1, bound=Bound(tokens=750, nano=7_500_000))
        refusal = await _refusal(books, bound=Bound(tokens=1))
        assert refusal.allowed == "1,000 tokens, 250 tokens of it kept for the answer"
        assert (refusal.left_tokens, refusal.left_nano) == (0, 0)
        assert (await _refusal(books, bound=Bound(nano=1))).limit == "usd"
        await books.reserve(2, bound=Bound(tokens=200, nano=2_500_000), closing=True)
        refusal = await _refusal(books, bound=Bound(tokens=51), closing=True)
        assert (refusal.allowed, refusal.left_tokens) == ("1,000 tokens", 50)
        await books.check()

    async def test_a_childs_closing_step_may_take_that_of_the_run_above(self, database: Database) -> None:
        top = Books.of_a_new_run(database, budget=self.BUDGET)
        child = top.child()
        await top.reserve(1, bound=Bound(tokens=750))
        assert (await _refusal(child, bound=Bound(tokens=1))).account == top.scope.run
        await child.reserve(1, bound=Bound(tokens=250), closing=True)
        await top.check()

    async def test_nothing_is_kept_where_the_run_would_fail_anyway(self, database: Database) -> None:
        books = Books.of_a_new_run(database, budget=Budget(tokens=100))
        await books.reserve(bound=Bound(tokens=100))


class TestTopUps:
    async def test_each_counts_once(self, database: Database) -> None:
        books = Books.of_a_new_run(database, budget=Budget(tokens=60, calls=10))
        await books.reserve(1, bound=BOUND)
        for ledger in (books.ledger, books.elsewhere().ledger, books.ledger):
            await ledger.top_up(books.scope, "run:1", TopUp(tokens=50))
        assert (await _refusal(books)).allowed == "110 tokens"
        await books.ledger.top_up(books.scope, "run:2", TopUp(tokens=10))
        await books.reserve(2, bound=BOUND)
        await books.check()

    async def test_one_may_come_before_the_first_step(self, database: Database) -> None:
        books = Books.of_a_new_run(database, budget=Budget(usd=Decimal("0.001"), calls=1))
        await books.ledger.top_up(books.scope, "run:1", TopUp(usd=Decimal("0.001"), calls=1, gpu_seconds=Decimal(1)))
        for step in (1, 2):
            await books.reserve(step, bound=BOUND)
        account = await books.account()
        assert (account.limit_nano, account.limit_calls, account.limit_gpu_us) == (2_000_000, 2, None)

    async def test_it_doesnt_raise_the_budget_of_a_run_above(self, database: Database) -> None:
        top = Books.of_a_new_run(database, budget=Budget(tokens=60))
        child = top.child(budget=Budget(tokens=60))
        await child.reserve(1, bound=BOUND)
        await child.ledger.top_up(child.scope, "run:1", TopUp(tokens=60))
        assert (await _refusal(child)).account == top.scope.run
        await top.ledger.top_up(top.scope, "run:1", TopUp(tokens=60))
        await child.reserve(2, bound=BOUND)
        await top.check()


class TestLimitsOfTenants:
    async def test_what_is_spent_and_open_already_counts(self, database: Database) -> None:
        books = Books.of_a_new_run(database)
        tenant = books.scope.tenant
        await books.used(1, USAGE, bound=BOUND)
        await books.reserve(2, bound=BOUND)
        await books.ledger.discard([books.attempt(1, 1)])
        await set_limit(database, tenant, "day", Allowance(tokens=USAGE.total + 60 + 59, calls=7))
        (limit,) = await tenant_limits(database, tenant)
        assert (limit.spent.tokens, limit.spent.nano, limit.spent.calls) == (35, PRICE.cost(USAGE), 2)
        assert (limit.reserved.tokens, limit.reserved.nano) == (60, 1_000_000)
        assert (await _refusal(books.elsewhere())).limit == "tokens"
        await books.reserve(3, bound=Bound(tokens=59))
        await books.check()

    async def test_a_new_figure_replaces_the_old_and_keeps_the_count(self, database: Database) -> None:
        books = Books.of_a_new_run(database)
        tenant = books.scope.tenant
        await set_limit(database, tenant, "day", Allowance(tokens=1))
        await _refusal(books)
        await set_limit(database, tenant, "day", Allowance(usd=Decimal("0.001")))
        await books.reserve(1, bound=BOUND)
        (limit,) = await tenant_limits(database, tenant)
        assert (limit.limit, limit.reserved.tokens) == (Allowance(usd=Decimal("0.001")), 60)
        assert (await _refusal(books)).limit == "usd"
        await books.check()

    async def test_without_one_nothing_is_kept_and_nothing_is_lost(self, database: Database) -> None:
        books = Books.of_a_new_run(database)
        tenant = books.scope.tenant
        await set_limit(database, tenant, "day", Allowance(tokens=100))
        first = await books.reserve(1, bound=BOUND)
        assert await clear_limit(database, tenant, "day")
        assert not await clear_limit(database, tenant, "day")
        await books.reserve(2, bound=BOUND)
        await books.settle(first, Outcome.USED, USAGE)
        await set_limit(database, tenant, "day", Allowance(tokens=100))
        (limit,) = await tenant_limits(database, tenant)
        assert (limit.spent.tokens, limit.reserved.tokens) == (35, 60)
        await books.check()

    async def test_day_and_month_bind_both(self, database: Database) -> None:
        books = Books.of_a_new_run(database)
        tenant = books.scope.tenant
        await set_limit(database, tenant, "month", Allowance(tokens=70))
        await set_limit(database, tenant, "day", Allowance(usd=Decimal("0.0015")))
        await books.reserve(1, bound=BOUND)
        assert (await _refusal(books, bound=Bound(tokens=11))).whose.endswith("month")
        assert (await _refusal(books, bound=Bound(nano=500_001))).whose.endswith("day")
        assert [limit.period for limit in await tenant_limits(database, tenant)] == ["day", "month"]
        await books.check()
