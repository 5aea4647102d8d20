"""Corrections: later knowledge of a settled row, as rows of their own. A settled row itself never changes.

Their figures are differences and may be negative, so that sums over all rows are right at any time. The accounts move
along, in the same transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, case, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.database import now
from orchestrator.database.tables import charges
from orchestrator.ledger.accounts import Bound, lineage_of, move
from orchestrator.ledger.rows import CALL, FIGURES, TOLD, Attempt, Reason, receipt_of, row_price
from orchestrator.ledger.seals import seal
from orchestrator.usage import EngineMoments, Outcome, Receipt, Usage

__all__ = ["Discarded", "correct", "discard", "locked_rows", "replace_estimate"]

_COPIED = (
    *CALL, "run", "root", "tenant", "kind", "name", "pool",
    "server", "rid", "input_price", "cached_price", "output_price", "gpu_price", "call_price", "price_source",
)  # fmt: skip


async def correct(
    connection: AsyncConnection,
    row: Any,
    reason: Reason,
    figures: Mapping[str, int | None],
    *,
    outcome: Outcome | None = None,
    moments: EngineMoments = EngineMoments(),  # noqa: B008
) -> None:
    """Adds a correction of a settled row.

    Args:
        row: the row as it was settled (`entry` 0), of a call that the caller's transaction has locked.
        figures: differences, by column of `orchestrator.ledger.rows.FIGURES`; those that aren't named are unknown.
        outcome: whose total it changes, where that isn't the row's own: what was discarded stays so by itself.
    """
    key = Attempt.of(row)
    discards = func.count(case((charges.c.reason == Reason.DISCARD, 1)))
    so_far = select(func.max(charges.c.entry), discards).where(key.step, charges.c.attempt == key.attempt)
    highest, discarded = (await connection.execute(so_far)).one()
    if outcome is None:
        outcome = Outcome.DISCARDED if discarded else Outcome(row.outcome)
    present = now()
    values = {name: getattr(row, name) for name in _COPIED}
    values |= {name: figures.get(name) for name in FIGURES}
    values |= {
        "entry": highest + 1,
        "reason": reason,
        "outcome": outcome,
        "cost_nano": figures.get("cost_nano") or 0,
        "reserved_nano": 0,
        "reserved_tokens": 0,
        "reserved_gpu_us": 0,
        "estimated": False,
        "entered_us": moments.entered,
        "prefilled_us": moments.prefilled,
        "finished_us": moments.finished,
        "reserved_at": row.reserved_at,
        "settled_at": present,
    }
    await connection.execute(insert(charges), values)
    spent = Bound(
        tokens=(figures.get("prompt_tokens") or 0) + (figures.get("output_tokens") or 0),
        nano=figures.get("cost_nano") or 0,
        gpu_us=figures.get("gpu_us") or 0,
    )
    if await move(connection, await lineage_of(connection, row.run, row.tenant), spent=spent):
        await seal(connection, row.run)


async def replace_estimate(
    connection: AsyncConnection, key: Attempt, reason: Reason, usage: Usage, moments: EngineMoments, gpu_us: int | None
) -> bool:
    """Corrects a row that was closed by an estimate to what was really used, once; whether it did.

    Args:
        gpu_us: `None` leaves the GPU time as it stands.
    """
    rows = await locked_rows(connection, key)
    if not rows or rows[0].outcome is None or not rows[0].estimated or any(row.reason in TOLD for row in rows):
        return False
    before = _sums(rows)
    gpu_us = before["gpu_us"] if gpu_us is None else gpu_us
    really: dict[str, int | None] = {
        "prompt_tokens": usage.prompt,
        "cached_tokens": usage.cached,
        "output_tokens": usage.output,
        "reasoning_tokens": usage.reasoning,
        "gpu_us": gpu_us,
        "cost_nano": row_price(rows[0]).cost(usage, gpu_us),
    }
    differences = {name: _difference(before[name], figure) for name, figure in really.items()}
    await correct(connection, rows[0], reason, differences, moments=moments)
    return True


@dataclass(frozen=True, kw_only=True)
class Discarded:
    """What came of discarding steps."""

    nano: int
    """What of the cost counted as used until now."""
    cancelled: Receipt
    """Of the steps that were cancelled: what they cost, which nobody has been told."""


async def discard(connection: AsyncConnection, steps: Sequence[Attempt]) -> Discarded:
    """Moves what steps cost, in attempts that were used or cancelled, to discarded, once.

    A step is named by any of its attempts and calls.
    """
    held: dict[Attempt, Sequence[Any]] = {}
    # All of them before any account, as whoever else corrects one of them goes from call to account too.
    for step in sorted({(step.workflow_id, step.run_id, step.activity_id) for step in steps}):
        named = and_(*(charges.c[name] == value for name, value in zip(CALL, step, strict=False)))
        ended = charges.c.outcome.in_((Outcome.USED, Outcome.CANCELLED))
        query = select(charges).where(named, ended, charges.c.entry == 0).order_by(charges.c.attempt, charges.c.call)
        for base in (await connection.execute(query)).all():
            held[Attempt.of(base)] = await locked_rows(connection, Attempt.of(base))
    nano, cancelled = 0, Receipt()
    for rows in held.values():
        base = rows[0]
        if any(row.reason == Reason.DISCARD for row in rows):
            continue
        sums = _sums(rows)
        taken = {name: None if figure is None else -figure for name, figure in sums.items()}
        await correct(connection, base, Reason.DISCARD, taken, outcome=Outcome(base.outcome))
        await correct(connection, base, Reason.DISCARD, sums, outcome=Outcome.DISCARDED)
        if base.outcome == Outcome.USED:
            nano += sums["cost_nano"] or 0
        else:
            cancelled += receipt_of(rows)
    return Discarded(nano=nano, cancelled=cancelled)


async def locked_rows(connection: AsyncConnection, call: Attempt) -> Sequence[Any]:
    """A call's rows, the settled one first; nobody else corrects it until the transaction ends.

    The call is locked, and no row of it: a row that is settled is never changed, but it is sealed, by transactions that
    hold the accounts already which a correction takes next.
    """
    if connection.dialect.name == "postgresql":  # on SQLite, one transaction writes at a time
        name = "/".join(map(str, call.columns.values()))
        await connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))
    own = and_(call.step, charges.c.attempt == call.attempt)
    return (await connection.execute(select(charges).where(own).order_by(charges.c.entry))).all()


def _sums(rows: Sequence[Any]) -> dict[str, int | None]:
    known = {name: [figure for row in rows if (figure := getattr(row, name)) is not None] for name in FIGURES}
    return {name: sum(figures) if figures else None for name, figures in known.items()}


def _difference(before: int | None, after: int | None) -> int | None:
    """What takes a sum to a figure; one that isn't known any more counts as none."""
    return None if before is None and after is None else (after or 0) - (before or 0)
