"""Reading the ledger: a run's bill, the runs there were, and what completed workflows cost."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from pydantic import BaseModel, ConfigDict
from sqlalchemy import RowMapping, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.database import Database
from orchestrator.database.tables import charges, runs
from orchestrator.ledger.charges import row_receipt
from orchestrator.steps import RunStatus
from orchestrator.usage import Outcome, Receipt, Usd, usd_from_nano

__all__ = ["BillLine", "RunRecord", "WorkflowCost", "bill", "run_record", "runs_of", "workflow_costs"]


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
    tokens: int


class WorkflowCost(_Row):
    """What a workflow's runs cost together."""

    workflow: str
    runs: int
    completed: int
    cost: Usd
    """Of all runs, failed and cancelled ones included."""
    waste: Usd
    tokens: int
    cost_per_completed: Usd | None
    """`cost` shared by the completed runs; `None` where there is none."""


async def bill(connection: AsyncConnection, root: str) -> list[BillLine]:
    """A run's attempts, added up by kind, name and outcome; used ones first."""
    rows = (await connection.execute(select(charges).where(charges.c.root == root))).all()
    lines: dict[tuple[str, str, str | None], Receipt] = {}
    steps: set[tuple[str, str]] = set()
    for row in sorted(rows, key=lambda row: (row.outcome != Outcome.USED, row.kind, row.name, row.reserved_at)):
        key = (row.kind, row.name, row.outcome)
        first = (row.run_id, row.activity_id) not in steps
        steps.add((row.run_id, row.activity_id))
        receipt = Receipt(attempts=1) if row.outcome is None else row_receipt(row)
        lines[key] = lines.get(key, Receipt()) + receipt + Receipt(steps=int(first))
    return [
        BillLine(kind=kind, name=name, outcome=None if outcome is None else Outcome(outcome), receipt=receipt)
        for (kind, name, outcome), receipt in lines.items()
    ]


async def run_record(connection: AsyncConnection, workflow_id: str) -> RunRecord | None:
    """The latest run with this workflow id, if it had a paid step or has ended."""
    query = select(runs).where(runs.c.workflow_id == workflow_id).order_by(runs.c.started_at.desc()).limit(1)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else _record(row)


async def runs_of(database: Database, tenant: str | None, *, limit: int = 20) -> Sequence[RunRecord]:
    """The latest runs, newest first; of every tenant where `tenant` is `None`."""
    query = select(runs).order_by(runs.c.started_at.desc()).limit(limit)
    if tenant is not None:
        query = query.where(runs.c.tenant == tenant)
    async with database.read() as connection:
        return [_record(row) for row in (await connection.execute(query)).mappings()]


async def workflow_costs(database: Database, tenant: str | None) -> Sequence[WorkflowCost]:
    """What each workflow's runs cost, the dearest first."""
    completed = func.sum(case((runs.c.status == RunStatus.COMPLETED, 1), else_=0))
    total = func.sum(runs.c.spent_nano)
    by_run = select(
        runs.c.workflow, func.count().label("runs"), completed.label("completed"), total.label("nano"),
        func.sum(runs.c.spent_tokens).label("tokens"),
    ).group_by(runs.c.workflow).order_by(total.desc())  # fmt: skip
    wasted = (
        select(runs.c.workflow, func.sum(charges.c.cost_nano).label("nano"))
        .join(runs, runs.c.id == charges.c.root)
        .where(charges.c.outcome.is_not(None), charges.c.outcome != Outcome.USED)
        .group_by(runs.c.workflow)
    )
    if tenant is not None:
        by_run, wasted = by_run.where(runs.c.tenant == tenant), wasted.where(runs.c.tenant == tenant)
    async with database.read() as connection:
        waste = {row.workflow: int(row.nano) for row in (await connection.execute(wasted)).all()}
        rows = (await connection.execute(by_run)).all()
    return [
        WorkflowCost(
            workflow=row.workflow,
            runs=row.runs,
            completed=int(row.completed),
            cost=usd_from_nano(int(row.nano)),
            waste=usd_from_nano(waste.get(row.workflow, 0)),
            tokens=int(row.tokens),
            cost_per_completed=_share(int(row.nano), int(row.completed)),
        )
        for row in rows
    ]


def _share(nano: int, completed: int) -> Decimal | None:
    return round(usd_from_nano(nano) / completed, 9) if completed else None


def _record(row: RowMapping) -> RunRecord:
    totals = {"cost": usd_from_nano(row["spent_nano"]), "tokens": row["spent_tokens"]}
    return RunRecord.model_validate({**row, **totals})
