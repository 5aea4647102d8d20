"""A run's ledger, attempts to write it with, and an audit of all that is written for its tenant."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

from sqlalchemy import Row, select

from orchestrator import Budget, Receipt, Timings, Usage
from orchestrator.database import Database
from orchestrator.database.tables import accounts, charges, runs
from orchestrator.ledger import NOTHING, Attempt, Bound, Kind, Ledger, Price, Replayed, Reservation, Settlement, verify
from orchestrator.ledger.rows import row_price, tokens_of
from orchestrator.steps import GENERATE, RunScope
from orchestrator.usage import Outcome

__all__ = ["ENGINE_CALL", "PRICE", "Auditor", "Books", "opened"]

PRICE = Price(input=2_000_000_000, cached=200_000_000, output=8_000_000_000, source="test")
"""2,000, 200 and 8,000 nano-dollars a token."""

ENGINE_CALL = Kind(kind=GENERATE, name="m", pool="default", server="http://e")

STARTED = datetime(2026, 1, 1, tzinfo=UTC)

_numbers = count()


def opened(answer: Reservation | Replayed) -> Reservation:
    assert isinstance(answer, Reservation)
    return answer


@dataclass(kw_only=True)
class Books:
    """One run's ledger."""

    database: Database
    ledger: Ledger
    scope: RunScope

    @classmethod
    def of_a_new_run(
        cls,
        database: Database,
        *,
        budget: Budget | None = None,
        ledger: Ledger | None = None,
        tenant: str | None = None,
        workflow: str = "think",
    ) -> "Books":
        """The books of a run that nobody started, of a tenant of its own unless one is given."""
        number = next(_numbers)
        scope = RunScope(
            tenant=tenant or f"tenant-{number}",
            workflow=workflow,
            run=f"run-{number}",
            workflow_id=f"w-{number}",
            started_at=STARTED,
            budget=budget,
        )
        return cls(database=database, ledger=ledger or Ledger(database), scope=scope)

    def child(self, *, budget: Budget | None = None) -> "Books":
        """The books of a run that this one started."""
        number = next(_numbers)
        changes = {"run": f"run-{number}", "workflow_id": f"w-{number}", "budget": budget, "parent": self.scope}
        return replace(self, scope=self.scope.model_copy(update=changes))

    def elsewhere(self) -> "Books":
        """The same books, in the hands of another worker."""
        return replace(self, ledger=Ledger(self.database))

    def attempt(self, step: int, attempt: int, *, call: int = 0) -> Attempt:
        scope = self.scope
        return Attempt(
            workflow_id=scope.workflow_id, run_id=scope.run, activity_id=str(step), attempt=attempt, call=call
        )

    async def ask(
        self,
        step: int = 1,
        attempt: int = 1,
        *,
        call: int = 0,
        what: Kind = ENGINE_CALL,
        bound: Bound = NOTHING,
        price: Price = PRICE,
        died: Usage | None = None,
        **more: Any,
    ) -> Reservation | Replayed:
        bound = replace(bound, calls=int(what.kind == GENERATE))
        key = self.attempt(step, attempt, call=call)
        return await self.ledger.reserve(key, self.scope, what, bound=bound, price=price, died=died, **more)

    async def reserve(self, step: int = 1, attempt: int = 1, **more: Any) -> Reservation:
        return opened(await self.ask(step, attempt, **more))

    async def settle(
        self,
        reservation: Reservation,
        outcome: Outcome = Outcome.USED,
        usage: Usage = Usage(),  # noqa: B008
        timings: Timings = Timings(),  # noqa: B008
        **more: Any,
    ) -> Receipt:
        async with self.database.begin() as connection:
            settlement = Settlement(outcome=outcome, usage=usage, timings=timings, **more)
            return await self.ledger.settle(connection, reservation, settlement)

    async def used(self, step: int = 1, usage: Usage = Usage(), **more: Any) -> Reservation:  # noqa: B008
        """A step that was taken in one attempt."""
        reservation = await self.reserve(step, **more)
        await self.settle(reservation, Outcome.USED, usage, result={"text": "x"})
        return reservation

    async def rows(self) -> Sequence[Row[Any]]:
        """Of the run itself, by step and attempt."""
        query = select(charges).where(charges.c.run == self.scope.run)
        order = (charges.c.run_id, charges.c.activity_id, charges.c.attempt, charges.c.call, charges.c.entry)
        async with self.database.read() as connection:
            return (await connection.execute(query.order_by(*order))).all()

    async def account(self, name: str | None = None) -> Row[Any]:
        """The run's account, or another one."""
        query = select(accounts).where(accounts.c.id == (name or self.scope.run))
        async with self.database.read() as connection:
            return (await connection.execute(query)).one()

    async def run(self) -> Row[Any]:
        async with self.database.read() as connection:
            return (await connection.execute(select(runs).where(runs.c.id == self.scope.run))).one()

    async def check(self) -> None:
        """Everything that is written for the tenant adds up."""
        await Auditor(self.database, self.scope.tenant).check()


@dataclass
class Auditor:
    """Holds a tenant's accounts against its rows, and its rows against what they were before."""

    database: Database
    tenant: str
    settled: dict[Attempt, Mapping[str, Any]] = field(default_factory=dict[Attempt, Mapping[str, Any]])
    """Base rows as they were first seen settled."""

    async def check(self) -> None:
        async with self.database.snapshot() as connection:
            rows = (await connection.execute(select(charges).where(charges.c.tenant == self.tenant))).all()
            known = (await connection.execute(select(runs).where(runs.c.tenant == self.tenant))).all()
            kept = (await connection.execute(select(accounts).where(accounts.c.tenant == self.tenant))).all()
            tops = [run for run in known if run.parent is None]
            verified = [await verify(connection, run.id) for run in tops]
        self._settled_rows_never_change(rows)
        _one_attempt_of_a_step_is_used(rows)
        _attempts_cost_what_they_used(rows)
        above = {run.id: run.parent for run in known}
        for account in kept:
            if account.period is None:
                own = called = [row for row in rows if account.id in _lineage(row.run, above)]
            else:
                since = account.period_start
                own = [row for row in rows if row.outcome is None or row.settled_at >= since]
                called = [row for row in rows if row.reserved_at >= since]
            _account_is_the_sum_of(account, own)
            made = [row for row in called if row.entry == 0 and row.kind == GENERATE and row.price_source != "cache"]
            assert account.calls == len(made)
        assert [check for report in verified for check in report.checks if check.breaks] == []

    def _settled_rows_never_change(self, rows: Sequence[Any]) -> None:
        for row in rows:
            if row.entry == 0 and row.outcome is not None:
                now = {name: value for name, value in row._mapping.items() if name != "seal"}
                assert self.settled.setdefault(Attempt.of(row), now) == now


def _one_attempt_of_a_step_is_used(rows: Sequence[Any]) -> None:
    used = Counter(
        (row.workflow_id, row.run_id, row.activity_id, row.call)
        for row in rows
        if row.entry == 0 and row.outcome == Outcome.USED
    )
    assert not [step for step, times in used.items() if times > 1]


def _attempts_cost_what_they_used(rows: Sequence[Any]) -> None:
    """Corrections included: what is on the bill is the price of what is on the bill."""
    by_attempt: defaultdict[Attempt, list[Any]] = defaultdict(list)
    for row in rows:
        if row.outcome is not None:
            by_attempt[Attempt.of(row)].append(row)
    for entries in by_attempt.values():
        base = next(row for row in entries if row.entry == 0)
        usage = Usage(
            prompt=_total(entries, "prompt_tokens"),
            cached=_total(entries, "cached_tokens"),
            output=_total(entries, "output_tokens"),
            reasoning=_total(entries, "reasoning_tokens"),
        )
        assert _total(entries, "cost_nano") == row_price(base).cost(usage, _total(entries, "gpu_us"))
        if any(row.reason == "discard" for row in entries):
            kept = [row for row in entries if row.outcome == Outcome.USED]
            assert not any(_total(kept, name) for name in ("prompt_tokens", "output_tokens", "gpu_us", "cost_nano"))


def _account_is_the_sum_of(account: Any, rows: Sequence[Any]) -> None:
    settled = [row for row in rows if row.outcome is not None]
    waiting = [row for row in rows if row.outcome is None]
    assert account.spent_nano == sum(row.cost_nano for row in settled)
    assert account.spent_tokens == sum(tokens_of(row) for row in settled)
    assert account.spent_gpu_us == sum(row.gpu_us or 0 for row in settled)
    assert account.reserved_nano == sum(row.reserved_nano for row in waiting)
    assert account.reserved_tokens == sum(row.reserved_tokens for row in waiting)
    assert account.reserved_gpu_us == sum(row.reserved_gpu_us for row in waiting)


def _lineage(run: str | None, above: Mapping[str, str | None]) -> Sequence[str]:
    lineage: list[str] = []
    while run is not None:
        lineage.append(run)
        run = above[run]
    return lineage


def _total(rows: Sequence[Any], name: str) -> int | None:
    known = [figure for row in rows if (figure := getattr(row, name)) is not None]
    return sum(known) if known else None
