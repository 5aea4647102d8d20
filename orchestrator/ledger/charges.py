"""Reserving and settling: one row for each attempt of each paid step.

As a card payment is authorised and captured: a row is reserved, with an upper bound that must fit every budget above
it, before anything is asked of an engine or a tool; it is settled with what was really used, and with an outcome. Both
are idempotent, and both are one transaction, in which the accounts move along, so that concurrent steps can't pass the
same check together and a reservation can't outlive its row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from cachetools import LRUCache
from sqlalchemy import ColumnElement, and_, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.database import Database, now
from orchestrator.database.tables import accounts, charges, runs
from orchestrator.ledger.accounts import (
    NOTHING,
    Bound,
    accounts_above,
    admit,
    bound_of,
    lineage_of,
    move,
    open_account,
    top_up,
)
from orchestrator.ledger.corrections import Discarded, discard, replace_estimate
from orchestrator.ledger.prices import FREE, FROM_CACHE, Price
from orchestrator.ledger.rows import Attempt, Reason, microseconds, receipt_of, row_price, span
from orchestrator.ledger.seals import last_seal, seal
from orchestrator.steps import CloseRunResult, RunScope, RunStatus, TopUp
from orchestrator.usage import EngineMoments, Outcome, Receipt, Savings, Timings, Usage, usd_from_nano

__all__ = ["Kind", "Ledger", "Replayed", "Reservation", "Settlement", "close_row"]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a row is charged for."""

    kind: str
    """`generate`, `retrieve` or `tool`."""
    name: str
    """The model, collection or tool."""
    pool: str | None = None
    server: str | None = None
    rid: str | None = None
    """The engine's request id."""
    sent_tokens: int | None = None
    """The prompt's length, known before the engine says so."""


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """An open row."""

    attempt: Attempt
    scope: RunScope
    bound: Bound
    price: Price


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """An earlier attempt was settled, but its answer never reached Temporal: here it is, already paid for."""

    result: Mapping[str, Any]
    receipt: Receipt


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """How an attempt ended, and what it used."""

    outcome: Outcome
    usage: Usage = field(default_factory=Usage)
    timings: Timings = field(default_factory=Timings)
    moments: EngineMoments = field(default_factory=EngineMoments)
    gpu_us: int | None = None
    result: Mapping[str, Any] | None = None
    estimated: bool = False
    saved: Savings | None = None
    """Of an attempt that a kept result answered."""


_key: ColumnElement[bool] = and_(
    charges.c.workflow_id == bindparam("b_workflow_id"),
    charges.c.run_id == bindparam("b_run_id"),
    charges.c.activity_id == bindparam("b_activity_id"),
    charges.c.attempt == bindparam("b_attempt"),
    charges.c.call == bindparam("b_call"),
    charges.c.entry == 0,
)

_SETTLE = (
    update(charges)
    .where(_key, charges.c.outcome.is_(None))
    .values({
        column: bindparam(f"v_{column}")
        for column in (
            "outcome", "prompt_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "queue_us", "prefill_us",
            "decode_us", "entered_us", "prefilled_us", "finished_us", "gpu_us", "cost_nano", "estimated", "result",
            "saved_nano", "saved_tokens", "settled_at",
        )
    })
)  # fmt: skip


class Ledger:
    """Writes the rows. Every method is safe to call again."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known_runs: LRUCache[str, bool] = LRUCache(10_000)

    async def reserve(
        self,
        attempt: Attempt,
        scope: RunScope,
        what: Kind,
        *,
        bound: Bound = NOTHING,
        price: Price = FREE,
        died: Usage | None = None,
        deadline: datetime | None = None,
        closing: bool = False,
    ) -> Reservation | Replayed:
        """Opens the row of an attempt, or hands back what an earlier attempt of the step already paid for.

        Args:
            died: the last that is known of the attempt before, if it ended without settling.
            deadline: when Temporal gives the attempt up, at the latest.
            closing: whether the step may draw on what the budget keeps for the answer.

        Raises:
            BudgetExceeded: the bound doesn't fit a budget of the run, of a run above it, or of its tenant; no row is
                opened.
        """
        if attempt.attempt > 1:
            # A transaction of its own, so that what died is on the bill even where this attempt is refused.
            async with self._database.begin() as connection:
                settled = await self._close_earlier(connection, attempt, died)
            if settled is not None:
                return settled
        async with self._database.begin(writes_first=True) as connection:
            await self._ensure_run(connection, scope)
            row = {
                **attempt.columns,
                "entry": 0,
                "run": scope.run,
                "root": scope.root,
                "tenant": scope.tenant,
                "kind": what.kind,
                "name": what.name,
                "pool": what.pool,
                "server": what.server,
                "rid": what.rid,
                "sent_tokens": what.sent_tokens,
                "reserved_nano": bound.nano,
                "reserved_tokens": bound.tokens,
                "reserved_gpu_us": bound.gpu_us,
                "estimated": False,
                "input_price": price.input,
                "cached_price": price.cached,
                "output_price": price.output,
                "gpu_price": price.gpu,
                "call_price": price.call,
                "price_source": price.source,
                "reserved_at": now(),
                "deadline": deadline,
            }
            inserted = await connection.execute(self._database.insert(charges).on_conflict_do_nothing(), row)
            if inserted.rowcount:
                await admit(connection, scope, bound, closing=closing)
        self._known_runs.update((run.run, True) for run in scope.lineage)
        if not inserted.rowcount:
            return await self._reserved_before(attempt, scope)
        return Reservation(attempt=attempt, scope=scope, bound=bound, price=price)

    async def settle(self, connection: AsyncConnection, reservation: Reservation, settlement: Settlement) -> Receipt:
        """Closes a row with what was used; the receipt of the step so far, earlier attempts included.

        A row that is settled already stays as it is. One that was closed by an estimate, since its attempt was given
        up, is corrected to what was used.
        """
        attempt, scope, price = reservation.attempt, reservation.scope, reservation.price
        if not await close_row(connection, attempt, settlement, price, reservation.bound, accounts_above(scope)):
            if not settlement.estimated:
                await replace_estimate(
                    connection, attempt, Reason.LATE, settlement.usage, settlement.moments, settlement.gpu_us
                )
            return await self._step_receipt(connection, attempt)
        if attempt.attempt > 1:
            return await self._step_receipt(connection, attempt)
        cost = usd_from_nano(price.cost(settlement.usage, settlement.gpu_us))
        return Receipt(
            usage=settlement.usage,
            timings=settlement.timings,
            gpu=span(settlement.gpu_us),
            cost=cost,
            waste=cost if settlement.outcome.is_waste else Decimal(0),
            attempts=1,
            steps=1,
            estimated=settlement.estimated,
            saved=settlement.saved or Savings(),
        )

    async def is_open(self, connection: AsyncConnection, attempt: Attempt) -> bool:
        """Whether an attempt's row waits to be settled."""
        own = and_(attempt.step, charges.c.attempt == attempt.attempt, charges.c.outcome.is_(None))
        return (await connection.execute(select(charges.c.entry).where(own))).one_or_none() is not None

    async def discard(self, attempts: Sequence[Attempt]) -> Discarded:
        """Books steps that the run threw away as discarded, once."""
        async with self._database.begin() as connection:
            return await discard(connection, attempts)

    async def top_up(self, scope: RunScope, key: str, amount: TopUp) -> None:
        """Raises the limits of a run's budget, once for each key."""
        async with self._database.begin(writes_first=True) as connection:
            await self._ensure_run(connection, scope)
            await top_up(connection, self._database, scope.run, key, amount)

    async def close_run(
        self, scope: RunScope, status: RunStatus, error: str | None, *, path: str = "", passed: bool | None = None
    ) -> CloseRunResult:
        """Records how a run ended, and seals its charges."""
        async with self._database.begin() as connection:
            await self._ensure_run(connection, scope)
            # Before the seal: what settles after this finds the run ended, and seals itself.
            ended = update(accounts).where(accounts.c.id == scope.run).values(sealed=True).returning(accounts)
            account = (await connection.execute(ended)).one()
            closing = update(runs).where(runs.c.id == scope.run, runs.c.closed_at.is_(None))
            await connection.execute(
                closing.values(status=status, error=error, path=path, passed=passed, closed_at=now())
            )
            await seal(connection, scope.run)
            sealed = await last_seal(connection, scope.run)
        return CloseRunResult(
            cost=usd_from_nano(account.spent_nano),
            tokens=account.spent_tokens,
            seal=None if sealed is None else sealed.head,
        )

    async def _reserved_before(self, attempt: Attempt, scope: RunScope) -> Reservation | Replayed:
        """The attempt as it was reserved the first time; or its answer, if it was settled since."""
        own = and_(attempt.step, charges.c.attempt == attempt.attempt, charges.c.entry == 0)
        async with self._database.read() as connection:
            row = (await connection.execute(select(charges).where(own))).one()
            if row.outcome == Outcome.USED:
                return Replayed(result=row.result, receipt=await self._step_receipt(connection, attempt))
        return Reservation(attempt=attempt, scope=scope, bound=bound_of(row), price=row_price(row))

    async def _close_earlier(
        self, connection: AsyncConnection, attempt: Attempt, died: Usage | None
    ) -> Replayed | None:
        """Settles attempts that died open, by what is known of them and marked so; finds an answer already paid for.

        One that is being settled elsewhere is waited for.
        """
        unsettled = select(charges.c.entry).where(attempt.step, charges.c.outcome.is_(None))
        await connection.execute(unsettled.order_by(charges.c.attempt).with_for_update())
        for row in await self._step_rows(connection, attempt):
            if row.entry:
                continue
            if row.outcome == Outcome.USED:
                return Replayed(result=row.result, receipt=await self._step_receipt(connection, attempt))
            if row.outcome is None and row.attempt < attempt.attempt:
                known = Usage(prompt=row.sent_tokens)
                if died is not None and row.attempt == attempt.attempt - 1 and row.price_source != FROM_CACHE.source:
                    known = died
                above = await lineage_of(connection, row.run, row.tenant)
                settlement = Settlement(outcome=Outcome.RETRIED, usage=known, estimated=True)
                await close_row(connection, Attempt.of(row), settlement, row_price(row), bound_of(row), above)
        return None

    async def _step_rows(self, connection: AsyncConnection, attempt: Attempt) -> Sequence[Any]:
        """Rows of a step, by attempt."""
        query = select(charges).where(attempt.step).order_by(charges.c.attempt, charges.c.entry)
        return (await connection.execute(query)).all()

    async def _step_receipt(self, connection: AsyncConnection, attempt: Attempt) -> Receipt:
        rows = await self._step_rows(connection, attempt)
        return receipt_of([row for row in rows if row.outcome is not None], steps=1)

    async def _ensure_run(self, connection: AsyncConnection, scope: RunScope) -> None:
        for run in reversed(scope.lineage):
            if run.run in self._known_runs:
                continue
            row = {
                "id": run.run,
                "root": run.root,
                "parent": run.parent.run if run.parent else None,
                "workflow_id": run.workflow_id,
                "workflow": run.workflow,
                "version": run.version,
                "tenant": run.tenant,
                "status": RunStatus.RUNNING,
                "started_at": run.started_at,
            }
            await connection.execute(self._database.insert(runs).on_conflict_do_nothing(), row)
            await open_account(connection, self._database, run)


async def close_row(
    connection: AsyncConnection,
    attempt: Attempt,
    settlement: Settlement,
    price: Price,
    bound: Bound,
    above: Sequence[str],
) -> bool:
    """Settles an open row and moves the accounts above it; false where it isn't open any more."""
    usage, timings, moments = settlement.usage, settlement.timings, settlement.moments
    cost, saved = price.cost(usage, settlement.gpu_us), settlement.saved
    closed = await connection.execute(
        _SETTLE,
        {
            **{f"b_{name}": value for name, value in attempt.columns.items()},
            "v_outcome": settlement.outcome,
            "v_prompt_tokens": usage.prompt,
            "v_cached_tokens": usage.cached,
            "v_output_tokens": usage.output,
            "v_reasoning_tokens": usage.reasoning,
            "v_queue_us": microseconds(timings.queue),
            "v_prefill_us": microseconds(timings.prefill),
            "v_decode_us": microseconds(timings.decode),
            "v_entered_us": moments.entered,
            "v_prefilled_us": moments.prefilled,
            "v_finished_us": moments.finished,
            "v_gpu_us": settlement.gpu_us,
            "v_cost_nano": cost,
            "v_estimated": settlement.estimated,
            "v_saved_nano": None if saved is None else int(saved.usd.scaleb(9)),
            "v_saved_tokens": None if saved is None else saved.tokens,
            "v_result": settlement.result,
            "v_settled_at": now(),
        },
    )
    if not closed.rowcount:
        return False
    spent = Bound(tokens=usage.total, nano=cost, gpu_us=settlement.gpu_us or 0)
    if await move(connection, above, spent=spent, released=bound):
        await seal(connection, above[0])
    return True
