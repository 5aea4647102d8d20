"""What reports are made of: the ledger added up inside the database, by one question at a time.

A charge falls in the period in which it was settled. Its cost is known from then on, and a correction is a row with a
time of its own: so a period that is over is never changed by what is learnt later, and periods that don't overlap add
up to the whole. A run falls in the period in which it ended; while it is running, in the one in which it began.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Date, String, Subquery, and_, case, cast, exists, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.database.tables import charges, runs
from orchestrator.ledger.exact import cache_saving, known
from orchestrator.ledger.rows import TOLD, same_call
from orchestrator.ledger.timeframes import EVER, Timeframe
from orchestrator.steps import RunStatus

__all__ = [
    "By", "Cell", "Key", "RunCount", "Scope", "charged", "count_runs", "day_of", "gpu_time", "read_cells",
    "read_estimated", "read_judged", "read_unpriced", "roots_of", "still_estimated",
]  # fmt: skip

Key = tuple[str | None, ...]
"""What a line of a report is about, by the names in `By.names`."""

Judged = Sequence[tuple[str, str]]
"""Workflows and versions that declare a check of correctness."""


class By(StrEnum):
    """What the lines of a report are about."""

    WORKFLOW = "workflow"
    VERSION = "version"
    TENANT = "tenant"
    DAY = "day"
    """In UTC."""
    OUTCOME = "outcome"
    PATH = "path"
    """The kinds of steps that a run took, in order."""
    MODEL = "model"
    """What was called: a model of a pool, a tool, a collection."""

    @property
    def names(self) -> Sequence[str]:
        """Of the parts of a line's key."""
        match self:
            case By.VERSION | By.PATH:
                return ("workflow", self.value)
            case By.MODEL:
                return ("kind", "name", "pool")
            case _:
                return (self.value,)

    @property
    def divides_runs(self) -> bool:
        """Whether one run has charges in several lines."""
        return self in (By.OUTCOME, By.MODEL)


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What of the ledger a report is about."""

    timeframe: Timeframe = EVER
    tenant: str | None = None
    workflow: str | None = None
    """Of the outermost run."""

    @property
    def is_everybody(self) -> bool:
        """Whether all of the period's charges are in it."""
        return self.tenant is None and self.workflow is None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Charges with the same key, outcome and pool; a report may have several."""

    key: Key
    judged: bool
    """Whether the runs are of a workflow and version that says which of its runs passed."""
    outcome: str
    pool: str | None
    calls: int
    prompt: int
    cached: int
    output: int
    reasoning: int
    gpu_us: int
    nano: int
    saved_nano: int
    """What the cached tokens would have cost more, had they not been cached."""
    kept_results: int
    """Calls that kept results answered."""
    kept_nano: int
    """What those cost when they were made."""
    kept_tokens: int


@dataclass(frozen=True, kw_only=True)
class RunCount:
    """Outermost runs with the same key."""

    key: Key
    judged: bool
    runs: int
    completed: int
    passed: int


_FIGURES = ("prompt_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "gpu_us", "cost_nano")


async def read_cells(
    connection: AsyncConnection, by: By, scope: Scope, judged: Judged, source: Any = charges
) -> Sequence[Cell]:
    """The settled charges of a period, added up.

    Args:
        source: the charges, or what `orchestrator.ledger.repricing` makes of them.
    """
    roots, c = roots_of(judged), source.c
    keys = _charge_key(by, c, roots, connection.dialect.name)
    keys += [roots.c.judged, c.outcome, c.pool]
    figures = [
        case((c.entry == 0, 1), else_=0),
        *(c[name] for name in _FIGURES),
        case((c.gpu_price == 0, cache_saving(known(c.cached_tokens), c)), else_=0),
        case((c.saved_tokens.is_not(None), 1), else_=0),
        c.saved_nano,
        c.saved_tokens,
    ]
    rows = select(
        *(key.label(f"key{number}") for number, key in enumerate(keys)),
        *(figure.label(f"figure{number}") for number, figure in enumerate(figures)),
    ).select_from(source.outerjoin(roots, roots.c.id == c.root))
    inner = rows.where(*charged(scope, c, roots)).subquery()
    grouped = [inner.c[f"key{number}"] for number in range(len(keys))]
    query = select(*grouped, *(func.sum(inner.c[f"figure{number}"]) for number in range(len(figures))))
    cells: list[Cell] = []
    for row in await connection.execute(query.group_by(*grouped)):
        *key, is_judged, outcome, pool = row[: len(keys)]
        totals = [int(total or 0) for total in row[len(keys) :]]
        calls, prompt, cached, output, reasoning, gpu_us, nano, saved, kept, kept_nano, kept_tokens = totals
        cells.append(
            Cell(
                key=_plain(key), judged=bool(is_judged), outcome=outcome, pool=pool, calls=calls,
                prompt=prompt, cached=cached, output=output, reasoning=reasoning, gpu_us=gpu_us, nano=nano,
                saved_nano=saved, kept_results=kept, kept_nano=kept_nano, kept_tokens=kept_tokens,
            )
        )  # fmt: skip
    return cells


async def read_estimated(connection: AsyncConnection, by: By, scope: Scope, source: Any = charges) -> Mapping[Key, int]:
    """Nano-dollars of calls whose figures are estimates still: the engine's own word has not replaced them."""
    roots, c = roots_of(), source.c
    keys = _charge_key(by, c, roots, connection.dialect.name)
    labelled = [key.label(f"key{number}") for number, key in enumerate(keys)]
    rows = select(*labelled, c.cost_nano).select_from(source.outerjoin(roots, roots.c.id == c.root))
    inner = rows.where(*charged(scope, c, roots), still_estimated(c)).subquery()
    grouped = [inner.c[key.name] for key in labelled]
    query = select(*grouped, func.sum(inner.c.cost_nano)).group_by(*grouped)
    return {_plain(row[:-1]): int(row[-1] or 0) for row in await connection.execute(query)}


async def read_unpriced(
    connection: AsyncConnection, scope: Scope, source: Any
) -> Sequence[tuple[str, str | None, int, int]]:
    """Model, pool, calls and tokens of what a price book has no price for."""
    roots, c = roots_of(), source.c
    query = select(c.name, c.pool, func.count(), func.sum(known(c.prompt_tokens) + known(c.output_tokens)))
    query = query.select_from(source.outerjoin(roots, roots.c.id == c.root)).group_by(c.name, c.pool)
    rows = await connection.execute(query.where(*charged(scope, c, roots), c.is_unpriced).order_by(c.name, c.pool))
    return [(name, pool, calls, int(tokens)) for name, pool, calls, tokens in rows]


async def count_runs(connection: AsyncConnection, by: By, scope: Scope, judged: Judged) -> Sequence[RunCount]:
    """The outermost runs of a period, by the same keys; where a run is in several lines, of all lines together."""
    roots = roots_of(judged)
    fell = func.coalesce(roots.c.closed_at, roots.c.started_at)
    where = _between(fell, scope.timeframe)
    if scope.tenant is not None:
        where.append(roots.c.tenant == scope.tenant)
    if scope.workflow is not None:
        where.append(roots.c.workflow == scope.workflow)
    keys = [] if by.divides_runs else _run_key(by, roots, fell, connection.dialect.name)
    inner = select(
        *(key.label(f"key{number}") for number, key in enumerate(keys)),
        roots.c.judged,
        case((roots.c.status == RunStatus.COMPLETED, 1), else_=0).label("completed"),
        case((roots.c.passed.is_(True), 1), else_=0).label("passed"),
    )
    rows = inner.where(*where).subquery()
    grouped = [*(rows.c[f"key{number}"] for number in range(len(keys))), rows.c.judged]
    query = select(*grouped, func.count(), func.sum(rows.c.completed), func.sum(rows.c.passed)).group_by(*grouped)
    return [
        RunCount(key=_plain(key), judged=bool(is_judged), runs=count, completed=int(completed), passed=int(passed))
        for *key, is_judged, count, completed, passed in await connection.execute(query)
    ]


async def gpu_time(connection: AsyncConnection, timeframe: Timeframe) -> Mapping[str, int]:
    """Microseconds of GPU time on everybody's charges of a period, by pool."""
    c = charges.c
    where = [*_between(c.settled_at, timeframe), c.outcome.is_not(None), c.gpu_us.is_not(None), c.pool.is_not(None)]
    query = select(c.pool, func.sum(c.gpu_us)).where(*where).group_by(c.pool)
    return {pool: int(us) for pool, us in await connection.execute(query)}


async def read_judged(connection: AsyncConnection) -> Judged:
    """Workflows and versions that ever said of a run that it passed, or that it didn't."""
    query = select(runs.c.workflow, runs.c.version).where(runs.c.passed.is_not(None), runs.c.root == runs.c.id)
    return [(workflow, version) for workflow, version in await connection.execute(query.distinct())]


def roots_of(judged: Judged = ()) -> Subquery:
    """Outermost runs, each with whether its workflow and version are among the judged."""
    names = ("id", "workflow", "version", "tenant", "path", "status", "passed", "started_at", "closed_at")
    is_judged = tuple_(runs.c.workflow, runs.c.version).in_(judged)
    query = select(*(runs.c[name] for name in names), is_judged.label("judged"))
    return query.where(runs.c.root == runs.c.id).subquery("roots")


def _charge_key(by: By, c: Any, roots: Any, dialect: str) -> list[ColumnElement[Any]]:
    match by:
        case By.TENANT:
            return [c.tenant]
        case By.DAY:
            return [day_of(c.settled_at, dialect)]
        case By.OUTCOME:
            return [c.outcome]
        case By.MODEL:
            return [c.kind, c.name, c.pool]
        case _:
            return [roots.c[name] for name in by.names]


def _run_key(by: By, roots: Any, fell: Any, dialect: str) -> list[ColumnElement[Any]]:
    return [day_of(fell, dialect)] if by is By.DAY else [roots.c[name] for name in by.names]


def day_of(at: Any, dialect: str) -> ColumnElement[Any]:
    """The UTC day of a moment."""
    return func.date(at, type_=String) if dialect == "sqlite" else cast(func.timezone("UTC", at), Date)


def still_estimated(c: Any) -> ColumnElement[bool]:
    """Whether a row is a call's estimate that no later row replaced by the engine's own word."""
    later = charges.alias("told")
    told = exists().where(same_call(later.c, c), later.c.reason.in_(TOLD))
    return and_(c.estimated, c.entry == 0, ~told)


def charged(scope: Scope, c: Any, roots: Any) -> list[ColumnElement[bool]]:
    """Conditions of the settled charges that a scope is about."""
    where = [*_between(c.settled_at, scope.timeframe), c.outcome.is_not(None)]
    if scope.tenant is not None:
        where.append(c.tenant == scope.tenant)
    if scope.workflow is not None:
        where.append(roots.c.workflow == scope.workflow)
    return where


def _between(at: Any, timeframe: Timeframe) -> list[ColumnElement[bool]]:
    bounds: list[ColumnElement[bool]] = []
    if timeframe.since is not None:
        bounds.append(at >= timeframe.since.astimezone(UTC))  # SQLite drops the zone
    if timeframe.until is not None:
        bounds.append(at < timeframe.until.astimezone(UTC))
    return bounds


def _plain(key: Iterable[Any]) -> Key:
    return tuple(part.isoformat() if isinstance(part, date) else part for part in key)
