"""Reserving and settling: one row for each attempt of each paid step.

As a card payment is authorised and captured: a row is reserved, with an upper bound that must fit the run's budget,
before anything is asked of an engine or a tool; it is settled with what was really used, and with an outcome. Both are
idempotent, and both are one transaction, in which the run's totals move along, so that concurrent steps can't pass the
same check together and a reservation can't outlive its row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from cachetools import LRUCache
from sqlalchemy import ColumnElement, and_, bindparam, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.database import Database, now
from orchestrator.database.tables import charges, runs
from orchestrator.errors import BudgetExceeded
from orchestrator.ledger.prices import FREE, Price
from orchestrator.steps import RunScope, RunStatus
from orchestrator.usage import Outcome, Receipt, Timings, Usage, usd_from_nano

__all__ = ["Attempt", "Bound", "Ledger", "Replayed"]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """The key of a row. Without `attempt`, it names the logical step."""

    workflow_id: str
    run_id: str
    activity_id: str
    attempt: int

    @property
    def columns(self) -> dict[str, Any]:
        return {
            "workflow_id": self.workflow_id,
            "run_id": self.run_id,
            "activity_id": self.activity_id,
            "attempt": self.attempt,
        }


@dataclass(frozen=True, kw_only=True)
class Bound:
    """The most that an attempt may use, and what that costs."""

    tokens: int = 0
    nano: int = 0


NOTHING = Bound()


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """An earlier attempt was settled, but its answer never reached Temporal: here it is, already paid for."""

    result: Mapping[str, Any]
    receipt: Receipt


_key: ColumnElement[bool] = and_(
    charges.c.workflow_id == bindparam("b_workflow_id"),
    charges.c.run_id == bindparam("b_run_id"),
    charges.c.activity_id == bindparam("b_activity_id"),
    charges.c.attempt == bindparam("b_attempt"),
)

_SETTLE = (
    update(charges)
    .where(_key, charges.c.outcome.is_(None))
    .values({
        column: bindparam(f"v_{column}")
        for column in (
            "outcome", "prompt_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "queue_us", "prefill_us",
            "decode_us", "cost_nano", "estimated", "result", "settled_at",
        )
    })
)  # fmt: skip

_RESERVE_RUN = (
    update(runs)
    .where(
        runs.c.id == bindparam("b_root"),
        or_(
            runs.c.limit_nano.is_(None),
            runs.c.spent_nano + runs.c.reserved_nano + bindparam("b_nano") <= runs.c.limit_nano,
        ),
        or_(
            runs.c.limit_tokens.is_(None),
            runs.c.spent_tokens + runs.c.reserved_tokens + bindparam("b_tokens") <= runs.c.limit_tokens,
        ),
    )
    .values(
        reserved_nano=runs.c.reserved_nano + bindparam("b_nano"),
        reserved_tokens=runs.c.reserved_tokens + bindparam("b_tokens"),
    )
)

_SETTLE_RUN = (
    update(runs)
    .where(runs.c.id == bindparam("b_root"))
    .values(
        reserved_nano=runs.c.reserved_nano - bindparam("b_reserved_nano"),
        reserved_tokens=runs.c.reserved_tokens - bindparam("b_reserved_tokens"),
        spent_nano=runs.c.spent_nano + bindparam("b_nano"),
        spent_tokens=runs.c.spent_tokens + bindparam("b_tokens"),
    )
)


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """An open row."""

    attempt: Attempt
    scope: RunScope
    bound: Bound
    price: Price


class Ledger:
    """Writes the rows. Every method is safe to call again."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known_runs: LRUCache[str, bool] = LRUCache(10_000)

    async def reserve(
        self,
        attempt: Attempt,
        scope: RunScope,
        *,
        kind: str,
        name: str,
        bound: Bound = NOTHING,
        price: Price = FREE,
        rid: str | None = None,
        server: str | None = None,
        died: Usage | None = None,
    ) -> Reservation | Replayed:
        """Opens the row of an attempt, or hands back what an earlier attempt of the step already paid for.

        Args:
            died: the last that is known of the attempt before, if it ended without settling.

        Raises:
            BudgetExceeded: the bound doesn't fit what is left of the run's budget; no row is opened.
        """
        if attempt.attempt > 1:
            # A transaction of its own, so that what died is on the bill even where this attempt is refused.
            async with self._database.begin() as connection:
                settled = await self._close_earlier(connection, attempt, died)
            if settled is not None:
                return settled
        async with self._database.begin(writes_first=True) as connection:
            await self._ensure_run(connection, scope, attempt)
            row = {
                **attempt.columns,
                "root": scope.root,
                "kind": kind,
                "name": name,
                "rid": rid,
                "server": server,
                "reserved_nano": bound.nano,
                "reserved_tokens": bound.tokens,
                "estimated": False,
                "input_price": price.input,
                "cached_price": price.cached,
                "output_price": price.output,
                "price_source": price.source,
                "reserved_at": now(),
            }
            inserted = await connection.execute(self._database.insert(charges).on_conflict_do_nothing(), row)
            if inserted.rowcount:
                moved = await connection.execute(
                    _RESERVE_RUN, {"b_root": scope.root, "b_nano": bound.nano, "b_tokens": bound.tokens}
                )
                if not moved.rowcount:
                    raise await _refusal(connection, scope, bound)
        self._known_runs[scope.root] = True
        return Reservation(attempt=attempt, scope=scope, bound=bound, price=price)

    async def settle(
        self,
        connection: AsyncConnection,
        reservation: Reservation,
        outcome: Outcome,
        usage: Usage = Usage(),  # noqa: B008
        timings: Timings = Timings(),  # noqa: B008
        *,
        result: Mapping[str, Any] | None = None,
        estimated: bool = False,
    ) -> Receipt:
        """Closes a row with what was used; the receipt of the step so far, earlier attempts included.

        A row that is closed already stays as it is.
        """
        attempt, bound = reservation.attempt, reservation.bound
        await self._close(
            connection, attempt, reservation.scope.root, bound, reservation.price, outcome, usage, timings,
            result=result, estimated=estimated,
        )  # fmt: skip
        if attempt.attempt > 1:
            return await self._step_receipt(connection, attempt)
        cost = usd_from_nano(reservation.price.cost(usage))
        waste = cost if outcome.is_waste else Decimal(0)
        return Receipt(usage=usage, timings=timings, cost=cost, waste=waste, attempts=1, steps=1, estimated=estimated)

    async def close_run(self, attempt: Attempt, scope: RunScope, status: RunStatus, error: str | None) -> None:
        """Records how a run ended."""
        async with self._database.begin() as connection:
            await self._ensure_run(connection, scope, attempt)
            closing = update(runs).where(runs.c.id == scope.root, runs.c.closed_at.is_(None))
            await connection.execute(closing.values(status=status, error=error, closed_at=now()))

    async def _close(
        self,
        connection: AsyncConnection,
        attempt: Attempt,
        root: str,
        bound: Bound,
        price: Price,
        outcome: Outcome,
        usage: Usage,
        timings: Timings,
        *,
        result: Mapping[str, Any] | None,
        estimated: bool,
    ) -> None:
        cost = price.cost(usage)
        closed = await connection.execute(
            _SETTLE,
            {
                **{f"b_{name}": value for name, value in attempt.columns.items()},
                "v_outcome": outcome,
                "v_prompt_tokens": usage.prompt,
                "v_cached_tokens": usage.cached,
                "v_output_tokens": usage.output,
                "v_reasoning_tokens": usage.reasoning,
                "v_queue_us": _microseconds(timings.queue),
                "v_prefill_us": _microseconds(timings.prefill),
                "v_decode_us": _microseconds(timings.decode),
                "v_cost_nano": cost,
                "v_estimated": estimated,
                "v_result": result,
                "v_settled_at": now(),
            },
        )
        if closed.rowcount:
            await connection.execute(
                _SETTLE_RUN,
                {
                    "b_root": root,
                    "b_reserved_nano": bound.nano,
                    "b_reserved_tokens": bound.tokens,
                    "b_nano": cost,
                    "b_tokens": usage.total,
                },
            )

    async def _close_earlier(
        self, connection: AsyncConnection, attempt: Attempt, died: Usage | None
    ) -> Replayed | None:
        """Settles attempts that died open, by what is known of them and marked so; finds an answer already paid for."""
        for row in await self._step_rows(connection, attempt, lock=True):
            if row.outcome == Outcome.USED:
                return Replayed(result=row.result, receipt=await self._step_receipt(connection, attempt))
            if row.outcome is None and row.attempt < attempt.attempt:
                earlier = Attempt(
                    workflow_id=row.workflow_id, run_id=row.run_id, activity_id=row.activity_id, attempt=row.attempt
                )
                known = died if died is not None and row.attempt == attempt.attempt - 1 else Usage()
                bound = Bound(tokens=row.reserved_tokens, nano=row.reserved_nano)
                await self._close(
                    connection, earlier, row.root, bound, _row_price(row), Outcome.RETRIED, known, Timings(),
                    result=None, estimated=True,
                )  # fmt: skip
        return None

    async def _step_rows(self, connection: AsyncConnection, attempt: Attempt, *, lock: bool = False) -> Any:
        """Rows of a step, by attempt. With `lock`, one that is being settled elsewhere is waited for."""
        query = select(charges).where(
            charges.c.workflow_id == attempt.workflow_id,
            charges.c.run_id == attempt.run_id,
            charges.c.activity_id == attempt.activity_id,
        )
        query = query.order_by(charges.c.attempt)
        return (await connection.execute(query.with_for_update() if lock else query)).all()

    async def _step_receipt(self, connection: AsyncConnection, attempt: Attempt) -> Receipt:
        receipt = Receipt(steps=1)
        for row in await self._step_rows(connection, attempt):
            if row.outcome is not None:
                receipt += row_receipt(row)
        return receipt

    async def _ensure_run(self, connection: AsyncConnection, scope: RunScope, attempt: Attempt) -> None:
        if scope.root in self._known_runs:
            return
        row = {
            "id": scope.root,
            "workflow_id": attempt.workflow_id,
            "workflow": scope.workflow,
            "tenant": scope.tenant,
            "status": RunStatus.RUNNING,
            "started_at": scope.started_at,
            "limit_nano": scope.budget.nano_usd if scope.budget else None,
            "limit_tokens": scope.budget.tokens if scope.budget else None,
            "reserved_nano": 0,
            "reserved_tokens": 0,
            "spent_nano": 0,
            "spent_tokens": 0,
        }
        await connection.execute(self._database.insert(runs).on_conflict_do_nothing(), row)


async def _refusal(connection: AsyncConnection, scope: RunScope, bound: Bound) -> BudgetExceeded:
    run = (await connection.execute(select(runs).where(runs.c.id == scope.root))).one()
    gone = run.spent_nano + run.reserved_nano
    if run.limit_nano is not None and gone + bound.nano > run.limit_nano:
        return BudgetExceeded(
            "usd",
            allowed=f"${usd_from_nano(run.limit_nano):f}",
            spent=f"${usd_from_nano(gone):f}",
            needed=f"${usd_from_nano(bound.nano):f}",
        )
    return BudgetExceeded(
        "tokens",
        allowed=f"{run.limit_tokens:,} tokens",
        spent=f"{run.spent_tokens + run.reserved_tokens:,}",
        needed=f"{bound.tokens:,}",
    )


def row_receipt(row: Any) -> Receipt:
    """The receipt of one settled row, not counted as a step of its own."""
    cost = usd_from_nano(row.cost_nano)
    return Receipt(
        usage=Usage(
            prompt=row.prompt_tokens, cached=row.cached_tokens, output=row.output_tokens, reasoning=row.reasoning_tokens
        ),
        timings=Timings(queue=_delta(row.queue_us), prefill=_delta(row.prefill_us), decode=_delta(row.decode_us)),
        cost=cost,
        waste=cost if Outcome(row.outcome).is_waste else Decimal(0),
        attempts=1,
        estimated=row.estimated,
    )


def _row_price(row: Any) -> Price:
    return Price(input=row.input_price, cached=row.cached_price, output=row.output_price, source=row.price_source)


def _microseconds(span: timedelta | None) -> int | None:
    return None if span is None else span // timedelta(microseconds=1)


def _delta(microseconds: int | None) -> timedelta | None:
    return None if microseconds is None else timedelta(microseconds=microseconds)
