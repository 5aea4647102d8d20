"""The past runs that a quote rests on: the nearest to what is asked that the ledger has enough of."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.database.tables import charges, runs
from orchestrator.ledger.rows import engine_call, microseconds
from orchestrator.steps import RunStatus
from orchestrator.usage import Outcome

__all__ = ["ENOUGH", "SAMPLE", "Basis", "Past", "PastRun", "known_workflows", "latest_version", "read_past"]

SAMPLE = 200
"""The latest runs at most: what was long ago says less."""
ENOUGH = 5
"""Completed runs; with fewer, runs that are less alike are looked at as well."""


class Basis(StrEnum):
    """Whose runs a quote rests on."""

    OWN_VERSION = "own_version"
    """The tenant's, of this version of the workflow."""
    OWN = "own"
    """The tenant's, of any version."""
    VERSION = "version"
    """Everybody's, of this version."""
    WORKFLOW = "workflow"
    """Everybody's, of any version."""
    NONE = "none"
    """No run ever completed, or too few of other tenants' for them to be unnamed."""


@dataclass(frozen=True, kw_only=True)
class PastRun:
    """An outermost run that ended, with what it and the runs that it started used."""

    id: str
    workflow_id: str
    status: RunStatus
    path: str | None
    closed_at: datetime
    took_us: int
    nano: int
    waste_nano: int
    prompt: int
    cached: int
    output: int
    calls: int
    """Attempts of engine calls."""

    @property
    def completed(self) -> bool:
        return self.status is RunStatus.COMPLETED


@dataclass(frozen=True, kw_only=True)
class Past:
    """The runs of one basis, the latest first."""

    basis: Basis
    runs: Sequence[PastRun]

    @property
    def completed(self) -> Sequence[PastRun]:
        return [run for run in self.runs if run.completed]


async def read_past(connection: AsyncConnection, workflow: str, *, tenant: str, version: str | None) -> Past:
    """The tenant's own runs first, of this version first; others' only where there are enough of them."""
    rungs: list[tuple[Basis, dict[str, str]]] = [
        (Basis.OWN_VERSION, {"tenant": tenant, "version": version or ""}),
        (Basis.OWN, {"tenant": tenant}),
        (Basis.VERSION, {"version": version or ""}),
        (Basis.WORKFLOW, {}),
    ]
    few: Past | None = None
    for basis, wanted in rungs:
        past = Past(basis=basis, runs=await _ended(connection, {"workflow": workflow, **wanted}))
        if len(past.completed) >= ENOUGH:
            return past
        if few is None and past.completed and "tenant" in wanted:
            few = past
    own = rungs[1][1]
    return few or Past(basis=Basis.NONE, runs=await _ended(connection, {"workflow": workflow, **own}))


async def latest_version(connection: AsyncConnection, workflow: str, *, tenant: str) -> str | None:
    """The version of the latest run: the tenant's own, else anybody's."""
    mine_first = case((runs.c.tenant == tenant, 0), else_=1)
    query = select(runs.c.version).where(runs.c.workflow == workflow, runs.c.root == runs.c.id)
    return (
        await connection.execute(query.order_by(mine_first, runs.c.started_at.desc()).limit(1))
    ).scalar_one_or_none()


async def known_workflows(connection: AsyncConnection, *, tenant: str) -> Sequence[str]:
    """Names of the workflows that the tenant ever ran by themselves."""
    query = select(runs.c.workflow).where(runs.c.tenant == tenant, runs.c.root == runs.c.id)
    return list((await connection.execute(query.distinct().order_by(runs.c.workflow))).scalars())


async def _ended(connection: AsyncConnection, wanted: dict[str, str]) -> Sequence[PastRun]:
    names = ("id", "workflow_id", "status", "path", "started_at", "closed_at")
    latest = select(*(runs.c[name] for name in names)).where(
        runs.c.root == runs.c.id,
        runs.c.closed_at.is_not(None),
        *(runs.c[name] == value for name, value in wanted.items()),
    )
    rows = (await connection.execute(latest.order_by(runs.c.closed_at.desc(), runs.c.id).limit(SAMPLE))).all()
    sums = await _sums(connection, [row.id for row in rows])
    return [_past_run(row, sums.get(row.id)) for row in rows]


async def _sums(connection: AsyncConnection, roots: Sequence[str]) -> dict[str, Any]:
    """What the charges of runs come to, corrections included."""
    c = charges.c
    wasted = [outcome for outcome in Outcome if outcome.is_waste]
    is_call = case((engine_call(c), 1), else_=0)
    query = select(
        c.root,
        func.sum(c.cost_nano).label("nano"),
        func.sum(case((c.outcome.in_(wasted), c.cost_nano), else_=0)).label("waste_nano"),
        func.sum(c.prompt_tokens).label("prompt"),
        func.sum(c.cached_tokens).label("cached"),
        func.sum(c.output_tokens).label("output"),
        func.sum(is_call).label("calls"),
    )
    query = query.where(c.root.in_(roots), c.outcome.is_not(None)).group_by(c.root)
    return {row.root: row for row in await connection.execute(query)}


def _past_run(row: Any, sums: Any) -> PastRun:
    def total(name: str) -> int:
        return 0 if sums is None else int(getattr(sums, name) or 0)

    figures = {name: total(name) for name in ("nano", "waste_nano", "prompt", "cached", "output", "calls")}
    return PastRun(
        id=row.id,
        workflow_id=row.workflow_id,
        status=RunStatus(row.status),
        path=row.path,
        closed_at=row.closed_at,
        took_us=microseconds(row.closed_at - row.started_at) or 0,
        **figures,
    )
