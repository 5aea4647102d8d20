"""Reading the ledger: a run's bill, and the runs there were."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import RowMapping, Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.database import Database
from orchestrator.database.tables import accounts, charges, runs
from orchestrator.ledger.rows import Attempt, Reason, receipt_of
from orchestrator.ledger.tree import descendants
from orchestrator.steps import RunStatus
from orchestrator.usage import Outcome, Receipt, Usd, usd_from_nano

__all__ = ["BillLine", "RunRecord", "bill", "run_record", "runs_of"]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True)


class BillLine(_Row):
    """What one kind of step took, with one outcome."""

    kind: str
    """`generate`, `retrieve` or `tool`."""
    name: str
    """The model, collection or tool."""
    outcome: Outcome | None
    """`None` for attempts that are still open."""
    receipt: Receipt


class RunRecord(_Row):
    """A run, as the ledger knows it."""

    id: str
    """The first execution id of the run."""
    workflow_id: str
    workflow: str
    tenant: str
    status: RunStatus
    error: str | None
    started_at: datetime
    closed_at: datetime | None
    cost: Usd
    """Of the run and of the runs that it started."""
    tokens: int


async def bill(connection: AsyncConnection, run: str) -> list[BillLine]:
    """The attempts of a run and of the runs that it started, by kind, name and outcome; used ones first.

    A call's corrections are added to it. One that was discarded later is discarded as a whole.
    """
    columns = [column for column in charges.c if column is not charges.c.result]
    query = select(*columns).where(or_(charges.c.root == run, charges.c.run.in_(select(descendants(run).c.id))))
    calls: dict[Attempt, list[Any]] = defaultdict(list)
    for row in await connection.execute(query.order_by(charges.c.entry)):
        calls[Attempt.of(row)].append(row)
    lines: dict[tuple[str, str, str | None], list[Any]] = defaultdict(list)
    for rows in sorted(calls.values(), key=_place):
        lines[rows[0].kind, rows[0].name, _outcome(rows)] += rows
    seen: set[tuple[str, str]] = set()
    made: list[BillLine] = []
    for (kind, name, outcome), rows in lines.items():
        steps = {(row.run_id, row.activity_id) for row in rows}
        receipt = receipt_of(rows, steps=len(steps - seen))
        seen |= steps
        made.append(
            BillLine(kind=kind, name=name, outcome=None if outcome is None else Outcome(outcome), receipt=receipt)
        )
    return made


async def run_record(connection: AsyncConnection, workflow_id: str) -> RunRecord | None:
    """The latest run with this workflow id, if it had a paid step or has ended."""
    query = _records().where(runs.c.workflow_id == workflow_id).order_by(runs.c.started_at.desc()).limit(1)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else _record(row)


async def runs_of(
    database: Database, tenant: str | None, *, limit: int = 20, outermost: bool = False
) -> Sequence[RunRecord]:
    """The latest runs, newest first; of every tenant where `tenant` is `None`.

    Args:
        outermost: without the runs that other runs started; their costs are in those that started them.
    """
    query = _records().order_by(runs.c.started_at.desc()).limit(limit)
    if tenant is not None:
        query = query.where(runs.c.tenant == tenant)
    if outermost:
        query = query.where(runs.c.root == runs.c.id)
    async with database.read() as connection:
        return [_record(row) for row in (await connection.execute(query)).mappings()]


def _records() -> Select[Any]:
    spent = [func.coalesce(accounts.c[name], 0).label(name) for name in ("spent_nano", "spent_tokens")]
    return select(runs, *spent).outerjoin(accounts, accounts.c.id == runs.c.id)


def _record(row: RowMapping) -> RunRecord:
    totals = {"cost": usd_from_nano(row["spent_nano"]), "tokens": row["spent_tokens"]}
    return RunRecord.model_validate({**row, **totals})


def _outcome(rows: Sequence[Any]) -> str | None:
    """What became of a call in the end."""
    return Outcome.DISCARDED if any(row.reason == Reason.DISCARD for row in rows) else rows[0].outcome


def _place(rows: Sequence[Any]) -> tuple[bool, str, str, datetime]:
    return _outcome(rows) != Outcome.USED, rows[0].kind, rows[0].name, rows[0].reserved_at
