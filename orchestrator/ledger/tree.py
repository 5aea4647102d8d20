"""A run and the runs that it started, theirs included: found by name, read together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from sqlalchemy import CTE, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.database.tables import accounts, runs, seals
from orchestrator.errors import UnknownName

__all__ = ["RunTree", "descendants", "find_run", "read_tree"]

RECENT = 200
"""So many of the latest runs are searched for the one that was meant."""


@dataclass(frozen=True, kw_only=True)
class RunTree:
    """Rows of a run and of its descendants, by the runs' first execution ids."""

    top: str
    runs: Mapping[str, Any]
    """Each after the one that started it; siblings by their start."""
    children: Mapping[str, Sequence[str]]
    accounts: Mapping[str, Any]
    seals: Mapping[str, Sequence[Any]]
    """By number."""
    ids: CTE
    """A query's `id` of each run."""

    @property
    def bottom_up(self) -> Sequence[str]:
        """Each run before the one that started it."""
        return list(self.runs)[::-1]


async def find_run(connection: AsyncConnection, name: str, *, tenant: str | None = None) -> str:
    """First execution id of a run, by that or by its workflow id; of a workflow id's runs, the latest.

    Raises:
        UnknownName: the ledger knows no such run of the tenant.
    """
    mine = runs.c.tenant == tenant if tenant is not None else runs.c.tenant.is_not(None)
    query = (
        select(runs.c.id)
        .where(mine, or_(runs.c.id == name, runs.c.workflow_id == name))
        .order_by(runs.c.id != name, runs.c.started_at.desc())
        .limit(1)
    )
    found = (await connection.execute(query)).scalar_one_or_none() if _can_be_stored(name) else None
    if found is None:
        latest = select(runs.c.workflow_id).where(mine).order_by(runs.c.started_at.desc()).limit(RECENT)
        known = list((await connection.execute(latest)).scalars())
        raise UnknownName("run", name, get_close_matches(name, known, n=1) or known[:5])
    return found


def descendants(run: str) -> CTE:
    """A query's `id` of a run and of all runs below it."""
    ids = select(runs.c.id).where(runs.c.id == run).cte("tree", recursive=True)
    # A union that drops duplicates ends, whatever the rows say.
    return ids.union(select(runs.c.id).join(ids, runs.c.parent == ids.c.id))


async def read_tree(connection: AsyncConnection, name: str, *, tenant: str | None = None) -> RunTree:
    """A run and its descendants. Wants a `Database.snapshot`, or the rows may be of different moments.

    Raises:
        UnknownName: the ledger knows no such run of the tenant.
    """
    top = await find_run(connection, name, tenant=tenant)
    ids = descendants(top)
    known = {row.id: row for row in await connection.execute(_members(runs, runs.c.id, ids))}
    opened = {row.id: row for row in await connection.execute(_members(accounts, accounts.c.id, ids))}
    sealed: dict[str, list[Any]] = {run: [] for run in known}
    for row in await connection.execute(_members(seals, seals.c.run, ids).order_by(seals.c.run, seals.c.number)):
        sealed[row.run].append(row)
    children: dict[str, list[str]] = {run: [] for run in known}
    for row in sorted(known.values(), key=lambda row: (row.started_at, row.id)):
        if row.id != top:
            children[row.parent].append(row.id)
    order = [top]
    for run in order:
        order.extend(children[run])
    return RunTree(
        top=top, runs={run: known[run] for run in order}, children=children, accounts=opened, seals=sealed, ids=ids
    )


def _members(table: Any, column: Any, ids: CTE) -> Any:
    return select(table).where(column.in_(select(ids.c.id)))


def _can_be_stored(text: str) -> bool:
    """Whether databases take it as text; they fail on what they can't."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False
