"""Whatever is done to the ledger, in whatever order, its accounts are its rows' sums, and a budget is never passed.

A state machine plays worker, sweeper, attribution, tenant and run at once; after each move the tenant's whole books are
audited.
"""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, TypeVar

from anyio import to_thread
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from orchestrator import Budget, Usage
from orchestrator.budget import Allowance
from orchestrator.database import Database
from orchestrator.database.tables import accounts, charges
from orchestrator.errors import BudgetExceeded
from orchestrator.ledger import (
    FREE,
    Attempt,
    Bound,
    Kind,
    Price,
    Replayed,
    Reservation,
    Sweeper,
    clear_limit,
    set_limit,
)
from orchestrator.ledger.corrections import correct, locked_rows
from orchestrator.ledger.rows import Reason, row_price
from orchestrator.steps import RunStatus, TopUp
from orchestrator.usage import EngineMoments, Outcome
from tests.ledger.books import PRICE, STARTED, Auditor, Books

R = TypeVar("R")

UNITS = ("nano", "tokens", "gpu_us", "calls")
PRICES = (PRICE, Price(gpu=7_200_000_000_000, source="a GPU"), Price(call=30_000, source="tool"))
"""2,000 nano-dollars a microsecond of GPU time, in the second."""

steps = st.integers(1, 3)
bounds = st.builds(
    Bound, tokens=st.integers(0, 60), nano=st.integers(0, 400_000), gpu_us=st.integers(0, 300)
)  # fmt: skip
allowances = st.builds(
    dict[str, Any],
    usd=st.none() | st.integers(100_000, 2_000_000).map(lambda nano: Decimal(nano).scaleb(-9)),
    tokens=st.none() | st.integers(20, 300),
    gpu_seconds=st.none() | st.integers(100, 1_000).map(lambda us: Decimal(us).scaleb(-6)),
    calls=st.none() | st.integers(1, 10),
)


def _budget(limits: dict[str, Any]) -> Budget:
    return Budget(**limits)


def _finishing(tokens: int) -> Budget:
    return Budget(tokens=tokens, reserve_for_answer=Decimal("0.25"), on_exhausted="finish")


budgets = st.none() | allowances.map(_budget) | st.integers(40, 200).map(_finishing)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    prompt, output = draw(st.none() | st.integers(0, 40)), draw(st.none() | st.integers(0, 20))
    return Usage(
        prompt=prompt,
        cached=None if prompt is None else draw(st.none() | st.integers(0, prompt)),
        output=output,
        reasoning=None if output is None else draw(st.none() | st.integers(0, output)),
    )


@dataclass(frozen=True)
class Recorded:
    """What an engine recorded."""

    usage: Usage
    moments: EngineMoments = EngineMoments()  # noqa: RUF009 - frozen


class Records:
    """The engine's own records of some requests."""

    def __init__(self, known: Mapping[str, Recorded]) -> None:
        self._known = known

    async def find(self, rids: Sequence[str]) -> Mapping[str, Recorded]:
        return {rid: self._known[rid] for rid in rids if rid in self._known}

    async def covers(self, server: str, since: datetime, until: datetime) -> bool:
        return False


class TheLedger(RuleBasedStateMachine):
    """A run, its child, the child's child, and another run of the same tenant."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._resources = AsyncExitStack()
        self.database = self.do(self._resources.enter_async_context(Database.open(self.url)))
        self.runs: list[Books] = []
        self.reserved: list[tuple[Books, Reservation]] = []
        self.latest: dict[tuple[str, int], int] = {}

    def do(self, work: Awaitable[R]) -> R:
        async def wait() -> R:
            return await work

        return self._runner.run(wait())

    def teardown(self) -> None:
        self.do(self._resources.aclose())
        self._runner.close()

    @initialize(own=budgets, childs=budgets, others=budgets)
    def a_tenants_runs(self, own: Budget | None, childs: Budget | None, others: Budget | None) -> None:
        top = Books.of_a_new_run(self.database, budget=own)
        child = top.child(budget=childs)
        other = Books.of_a_new_run(self.database, budget=others, tenant=top.scope.tenant)
        self.tenant = top.scope.tenant
        self.runs = [top, child.elsewhere(), child.child(), other]
        self.auditor = Auditor(self.database, self.tenant)
        for books in self.runs:
            self.do(books.used(0, what=Kind(kind="tool", name="free"), price=FREE))

    @rule(
        run=st.integers(0, 3),
        step=steps,
        which=st.sampled_from(["next", "next", "same", "older"]),
        bound=bounds,
        price=st.sampled_from(PRICES),
        sent=st.none() | st.integers(1, 30),
        died=st.none() | usages(),
        late=st.booleans(),
        closing=st.booleans(),
    )
    def reserve(
        self,
        run: int,
        step: int,
        which: Literal["next", "same", "older"],
        bound: Bound,
        price: Price,
        sent: int | None,
        died: Usage | None,
        late: bool,
        closing: bool,
    ) -> None:
        books = self.runs[run]
        latest = self.latest.get((books.scope.run, step), 0)
        attempt = max(1, latest + {"next": 1, "same": 0, "older": -1}[which])
        self.latest[books.scope.run, step] = max(latest, attempt)
        rid = f"{books.scope.run}-{step}-{attempt}" if sent else None
        what = Kind(kind="generate" if rid else "tool", name="m", rid=rid, sent_tokens=sent)
        deadline = STARTED if late else None
        asked = books.ask(
            step, attempt, what=what, bound=bound, price=price, died=died, closing=closing, deadline=deadline
        )
        known = self.do(self._known(books.attempt(step, attempt)))
        answer = self.do(_or_refusal(asked))
        if isinstance(answer, BudgetExceeded):
            assert not known
            passed = self.do(self._passed(books, bound, rid is not None, closing=closing, more=True))
            assert (answer.account, answer.limit) in passed
            return
        used = self.do(self._is_used(books.attempt(step, attempt)))
        if isinstance(answer, Replayed):
            assert used
            return
        assert not used or attempt == 1
        self.reserved.append((books, answer))
        if not known:
            assert not self.do(self._passed(books, bound, rid is not None, closing=closing, more=False))

    @precondition(lambda self: self.reserved)
    @rule(
        which=st.integers(0, 99),
        outcome=st.sampled_from([Outcome.USED, Outcome.USED, Outcome.RETRIED, Outcome.CANCELLED, Outcome.FAILED]),
        usage=usages(),
        gpu_us=st.none() | st.integers(0, 500),
        estimated=st.booleans(),
    )
    def settle(self, which: int, outcome: Outcome, usage: Usage, gpu_us: int | None, estimated: bool) -> None:
        """Any attempt, however old, and as often as may be."""
        books, reservation = self.reserved[which % len(self.reserved)]
        more: dict[str, Any] = {"gpu_us": gpu_us, "estimated": estimated, "result": {"text": "x"}}
        try:
            self.do(books.settle(reservation, outcome, usage, **more))
        except IntegrityError:
            assert outcome is Outcome.USED
            assert self.do(self._is_used(reservation.attempt))
            self.do(books.settle(reservation, Outcome.RETRIED, usage, **more))

    @rule(run=st.integers(0, 3), thrown=st.lists(steps, min_size=1, max_size=3))
    def discard(self, run: int, thrown: list[int]) -> None:
        books = self.runs[run]
        self.do(books.ledger.discard([books.attempt(step, 1) for step in thrown]))

    @precondition(lambda self: self.reserved)
    @rule(which=st.integers(0, 99), gpu_us=st.integers(0, 500))
    def attribute(self, which: int, gpu_us: int) -> None:
        """The share of GPU time is final."""
        _, reservation = self.reserved[which % len(self.reserved)]
        self.do(self._attribute(reservation.attempt, gpu_us))

    @rule(over=st.sets(st.integers(0, 20)), recorded=st.dictionaries(st.integers(0, 20), usages(), max_size=5))
    def sweep(self, over: set[int], recorded: Mapping[int, Usage]) -> None:
        keys = [reservation.attempt for _, reservation in self.reserved]
        ended = {key for number, key in enumerate(keys) if number in over}
        rids = self.do(self._rids())
        named = {rids[keys[number]]: usage for number, usage in recorded.items() if number < len(keys)}
        records = {rid: Recorded(usage) for rid, usage in named.items() if rid is not None}

        async def is_over(attempt: Attempt) -> bool:
            return attempt in ended

        sweeper = Sweeper(self.database, is_over=is_over, facts=Records(records))
        swept = self.do(sweeper.sweep(young=timedelta(0)))
        still_open = self.do(self._open())
        assert not ended & still_open.keys()
        assert not any(deadline is not None for deadline in still_open.values())
        assert swept.left == len(still_open)

    @rule(run=st.integers(0, 3), key=st.sampled_from("ab"), more=allowances)
    def top_up(self, run: int, key: str, more: dict[str, Any]) -> None:
        books = self.runs[run]
        if any(more.values()):
            self.do(books.ledger.top_up(books.scope, f"{books.scope.run}-{key}", TopUp(**more)))

    @rule(period=st.sampled_from(["day", "month"]), limit=st.none() | allowances)
    def limit(self, period: Literal["day", "month"], limit: dict[str, Any] | None) -> None:
        if limit is None:
            self.do(clear_limit(self.database, self.tenant, period))
        else:
            self.do(set_limit(self.database, self.tenant, period, Allowance(**limit)))

    @rule(run=st.integers(0, 3))
    def close(self, run: int) -> None:
        books = self.runs[run]
        self.do(books.ledger.close_run(books.scope, RunStatus.COMPLETED, None))

    @invariant()
    def the_books_balance(self) -> None:
        if self.runs:
            self.do(self.auditor.check())

    async def _rows(self, *where: Any) -> Sequence[Any]:
        async with self.database.read() as connection:
            return (await connection.execute(select(charges).where(charges.c.tenant == self.tenant, *where))).all()

    async def _known(self, key: Attempt) -> bool:
        """Whether the attempt was reserved before."""
        return bool(await self._rows(key.step, charges.c.attempt == key.attempt))

    async def _is_used(self, key: Attempt) -> bool:
        return bool(await self._rows(key.step, charges.c.outcome == Outcome.USED, charges.c.entry == 0))

    async def _open(self) -> dict[Attempt, Any]:
        """Deadlines of all open rows; those of other tenants are swept as well."""
        async with self.database.read() as connection:
            rows = (await connection.execute(select(charges).where(charges.c.outcome.is_(None)))).all()
        return {Attempt.of(row): row.deadline for row in rows}

    async def _rids(self) -> dict[Attempt, str | None]:
        return {Attempt.of(row): row.rid for row in await self._rows(charges.c.entry == 0)}

    async def _passed(
        self, books: Books, bound: Bound, is_call: bool, *, closing: bool, more: bool
    ) -> Sequence[tuple[str, str]]:
        """Which limits of which accounts are passed; with `more`, would be if the bound were added."""
        needed = {"nano": bound.nano, "tokens": bound.tokens, "gpu_us": bound.gpu_us, "calls": int(is_call)}
        names = {"nano": "usd", "tokens": "tokens", "gpu_us": "gpu_seconds", "calls": "calls"}
        above = {scope.run for scope in books.scope.lineage}
        async with self.database.read() as connection:
            rows = (await connection.execute(select(accounts).where(accounts.c.tenant == self.tenant))).all()
        passed: list[tuple[str, str]] = []
        for row in rows:
            if row.id not in above and row.period is None:
                continue
            for unit in UNITS:
                limit, need = getattr(row, f"limit_{unit}"), needed[unit]
                if limit is None or not need:
                    continue
                gone = (
                    row.calls if unit == "calls" else getattr(row, f"spent_{unit}") + getattr(row, f"reserved_{unit}")
                )
                kept = 0 if closing else limit * row.kept_ppm // 1_000_000
                if gone + (need if more else 0) > limit - kept:
                    passed.append((row.id, names[unit]))
        return passed

    async def _attribute(self, key: Attempt, gpu_us: int) -> None:
        async with self.database.begin() as connection:
            rows = await locked_rows(connection, key)
            if (base := rows[0]).outcome is None:
                return
            before = sum(row.gpu_us or 0 for row in rows)
            cost = sum(row.cost_nano for row in rows)
            price = row_price(base)
            figures = {"gpu_us": gpu_us - before}
            if price.gpu:
                figures["cost_nano"] = price.cost(Usage(), gpu_us) - cost
            await correct(connection, base, Reason.ATTRIBUTION, figures)


async def _or_refusal(asked: Awaitable[R]) -> R | BudgetExceeded:
    try:
        return await asked
    except BudgetExceeded as refusal:
        return refusal


async def test_at_every_moment(database_url: str) -> None:
    machine = type("OnThisDatabase", (TheLedger,), {"url": database_url})
    thorough = settings(
        max_examples=30,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    # It has an event loop of its own.
    await to_thread.run_sync(lambda: run_state_machine_as_test(machine, settings=thorough))
