"""The runs that a backtest goes by: what the ledger knows of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.database.tables import charges, runs
from orchestrator.errors import NoHistory, UnknownName
from orchestrator.ledger import Timeframe
from orchestrator.ledger.rows import microseconds, tokens_of
from orchestrator.quotes.past import known_workflows
from orchestrator.steps import GENERATE, RunStatus

__all__ = ["Figures", "Original", "Selection", "figures_of", "read_originals"]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which runs are run again: the latest completed ones of these."""

    workflow: str
    tenant: str
    timeframe: Timeframe
    limit: int
    version: str | None = None
    """Only runs of this version."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a run and those that it started used."""

    nano: int = 0
    tokens: int = 0
    thinking_us: int = 0
    """Time in which at least one engine call was under way. Tools and retrieval aren't in it, since a rerun has their
    answers at once."""


@dataclass(frozen=True, kw_only=True)
class Original:
    """A run as the ledger knows it."""

    id: str
    """Its first execution id."""
    workflow_id: str
    version: str
    passed: bool | None
    figures: Figures


async def read_originals(connection: AsyncConnection, selection: Selection) -> Sequence[Original]:
    """The latest first.

    Raises:
        UnknownName: the tenant never ran a workflow of this name.
        NoHistory: none of its runs that are meant completed.
    """
    mine = (runs.c.workflow == selection.workflow, runs.c.tenant == selection.tenant, runs.c.root == runs.c.id)
    where = [*mine, runs.c.status == RunStatus.COMPLETED]
    if selection.timeframe.since is not None:
        where.append(runs.c.closed_at >= selection.timeframe.since.astimezone(UTC))
    if selection.timeframe.until is not None:
        where.append(runs.c.closed_at < selection.timeframe.until.astimezone(UTC))
    if selection.version is not None:
        where.append(runs.c.version == selection.version)
    columns = (runs.c.id, runs.c.workflow_id, runs.c.version, runs.c.passed)
    query = select(*columns).where(*where).order_by(runs.c.closed_at.desc(), runs.c.id).limit(selection.limit)
    rows = (await connection.execute(query)).all()
    if not rows:
        completed = case((runs.c.status == RunStatus.COMPLETED, 1))
        counts = select(func.count(runs.c.closed_at), func.count(completed)).where(*mine)
        ended, well = (await connection.execute(counts)).one()
        known = await known_workflows(connection, tenant=selection.tenant)
        if selection.workflow not in known:
            raise UnknownName("workflow that was ever run", selection.workflow, known)
        raise NoHistory(selection.workflow, ended=ended, completed=well)
    figures = await figures_of(connection, [row.id for row in rows])
    return [Original(**row._mapping, figures=figures[row.id]) for row in rows]  # pyright: ignore[reportPrivateUsage]


async def figures_of(connection: AsyncConnection, roots: Sequence[str]) -> Mapping[str, Figures]:
    """What runs used, by outermost run; corrections included."""
    c = charges.c
    names = ("kind", "entry", "cost_nano", "prompt_tokens", "output_tokens", "saved_nano", "saved_tokens")
    columns = (c.root, *(c[name] for name in names), c.reserved_at, c.settled_at)
    query = select(*columns).where(c.root.in_(roots), c.outcome.is_not(None)).order_by(c.reserved_at)
    rows: dict[str, list[Any]] = {root: [] for root in roots}
    for row in await connection.execute(query):
        rows[row.root].append(row)
    return {root: _figures(each) for root, each in rows.items()}


def _figures(rows: Sequence[Any]) -> Figures:
    """Of rows in the order in which they were reserved.

    What kept replies saved counts as used: reruns ask anew, so that otherwise they would seem to be the dearer.
    """
    calls = [row for row in rows if row.kind == GENERATE and row.entry == 0]
    thinking, until = 0, None
    for call in calls:
        begun = call.reserved_at if until is None else max(call.reserved_at, until)
        if call.settled_at > begun:
            thinking += microseconds(call.settled_at - begun) or 0
            until = call.settled_at
    return Figures(
        nano=sum(row.cost_nano or 0 for row in rows) + sum(row.saved_nano or 0 for row in calls),
        tokens=sum(tokens_of(row) for row in rows) + sum(row.saved_tokens or 0 for row in calls),
        thinking_us=thinking,
    )
