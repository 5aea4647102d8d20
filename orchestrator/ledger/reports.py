"""What completed workflows cost, waste, failures and idle GPUs included, by one question at a time."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from pydantic import BaseModel, ConfigDict, computed_field
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.database import Database
from orchestrator.ledger.apportion import apportion
from orchestrator.ledger.cells import (
    By,
    Cell,
    Key,
    RunCount,
    Scope,
    count_runs,
    gpu_time,
    read_cells,
    read_estimated,
    read_judged,
    read_unpriced,
)
from orchestrator.ledger.idle import IdlePool, read_idle
from orchestrator.ledger.repricing import corrections, first_entries, read_segments, read_window_segments
from orchestrator.ledger.timeframes import EVER, Timeframe
from orchestrator.usage import Outcome, Savings, Usd, usd_from_nano

__all__ = ["CostLine", "CostReport", "Unpriced", "Waste", "cost_report"]


WIDE = text("SET LOCAL work_mem = '256MB'")
"""PostgreSQL guesses that a report has as many lines as the ledger has rows, and with little memory would sort them."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class Waste(_Value):
    """What was paid for attempts that gave their runs nothing, by what became of them."""

    discarded: Usd
    retried: Usd
    cancelled: Usd
    failed: Usd
    abandoned: Usd

    @computed_field
    @property
    def total(self) -> Usd:
        """All of it."""
        return self.discarded + self.retried + self.cancelled + self.failed + self.abandoned


class CostLine(_Value):
    """Charges and runs with something in common. Money is in US dollars, exact to the nano-dollar."""

    group: dict[str, str | None]
    """What they have in common; `None` where the ledger doesn't know it."""
    runs: int | None
    """Outermost runs that ended in the period, or began in it and run still. `None` where lines divide the cost of the
    same runs: by outcome and by model."""
    completed: int | None
    passed: int | None
    """Runs that passed their workflow's check of correctness; `None` where no workflow declares one."""
    calls: int
    """Attempts of paid steps, failed and retried ones included."""
    prompt_tokens: int
    """Cached ones included."""
    cached_tokens: int
    output_tokens: int
    """Reasoning included."""
    reasoning_tokens: int
    gpu: timedelta
    """GPU time on the charges."""
    cost: Usd
    """Of all runs, waste included."""
    waste: Waste
    """The part of `cost` that bought nothing."""
    idle: Usd
    """The share in the pools' idling and overhead. It is not in `cost`."""
    cost_per_completed: Usd | None
    """`cost` and `idle`, shared by the completed runs; where lines divide the cost of the same runs, by all completed
    runs of the report, so that lines add up. Rounded half up; `None` where no run completed."""
    cost_of_pass: Usd | None
    """Cost and idle share of the workflows that declare a check, shared by the runs that passed it."""
    cache_savings: Usd
    """What cached prompt tokens would have cost more uncached, where tokens have a price; rounded call by call."""
    saved: Savings
    """What kept results saved that answered calls: at the prices that they were charged when they were made, whatever
    the book. It is in no cost."""
    estimated: Usd
    """The part of `cost` that is an estimate, since the engine's own word is missing."""

    @computed_field
    @property
    def tokens(self) -> int:
        """Prompt and output tokens."""
        return self.prompt_tokens + self.output_tokens

    @computed_field
    @property
    def estimated_share(self) -> Usd | None:
        """The estimated part of the cost, from 0 to 1."""
        return round(self.estimated / self.cost, 6) if self.cost else None


class Unpriced(_Value):
    """Calls that the price book has no price for, or whose GPU time is unknown. They are not in any cost."""

    model: str
    pool: str | None
    calls: int
    tokens: int


class CostReport(_Value):
    """What a period cost. A charge falls in the period in which it was settled."""

    by: By
    since: datetime | None
    until: datetime | None
    """The first moment that is not in it any more."""
    tenant: str | None
    workflow: str | None
    book: str | None
    """The price book that the calls are priced by; `None` for what was charged."""
    lines: Sequence[CostLine]
    """The dearest first; days in order."""
    total: CostLine
    idle_unshared: Usd
    """Idling of pools that nobody used in the period. It is in the total's `idle`, and in no line's."""
    unpriced: Sequence[Unpriced]


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What the ledger says."""

    cells: Sequence[Cell]
    counts: Sequence[RunCount]
    estimated: Mapping[Key, int]
    unpriced: Sequence[Unpriced]
    idle: Sequence[IdlePool]
    pools: Mapping[str, int] | None
    """Everybody's GPU time by pool, where the cells are not everybody's."""


@dataclass(kw_only=True)
class _Sums:
    """What goes into one line."""

    cells: list[Cell] = field(default_factory=list[Cell])
    counts: list[RunCount] = field(default_factory=list[RunCount])
    idle: int = 0
    idle_judged: int = 0
    estimated: int = 0


async def cost_report(
    database: Database,
    *,
    by: By = By.WORKFLOW,
    timeframe: Timeframe = EVER,
    tenant: str | None = None,
    workflow: str | None = None,
    book: str | None = None,
) -> CostReport:
    """What a period cost, line by line.

    Args:
        workflow: only its runs', with the runs that they started.
        book: the price book to price past calls by, in place of what they were charged.

    Raises:
        UnknownName: there is no such book.
    """
    scope = Scope(timeframe=timeframe, tenant=tenant, workflow=workflow)
    async with database.snapshot() as connection:
        if database.dialect == "postgresql":
            await connection.execute(WIDE)
        found = await _read(connection, by, scope, book)
    sums: dict[Key, _Sums] = defaultdict(_Sums)
    for cell in found.cells:
        sums[cell.key].cells.append(cell)
    for count in found.counts:
        sums[count.key].counts.append(count)
    for key, nano in found.estimated.items():
        sums[key].estimated = nano
    unshared = _share_idle(sums, by, found)
    everything = _Sums(
        cells=list(found.cells),
        counts=list(found.counts),
        idle=unshared + sum(each.idle for each in sums.values()),
        idle_judged=sum(each.idle_judged for each in sums.values()),
        estimated=sum(each.estimated for each in sums.values()),
    )
    completed = sum(count.completed for count in found.counts) if by.divides_runs else None
    if by.divides_runs:
        sums.pop((), None)
    lines = [_line(dict(zip(by.names, key, strict=True)), each, completed) for key, each in sums.items()]
    lines.sort(key=lambda line: str(line.group["day"]) if by is By.DAY else (-line.cost - line.idle, str(line.group)))
    return CostReport(
        by=by,
        since=timeframe.since,
        until=timeframe.until,
        tenant=tenant,
        workflow=workflow,
        book=book,
        lines=lines,
        total=_line({}, everything, None),
        idle_unshared=usd_from_nano(unshared),
        unpriced=found.unpriced,
    )


async def _read(connection: AsyncConnection, by: By, scope: Scope, book: str | None) -> _Found:
    judged = await read_judged(connection)
    windows = None
    unpriced: Sequence[Unpriced] = []
    if book is None:
        cells = await read_cells(connection, by, scope, judged)
        estimated = await read_estimated(connection, by, scope)
    else:
        segments = await read_segments(connection, book)
        windows = await read_window_segments(connection, book)
        first, later = first_entries(segments), corrections(segments)
        cells = [cell for each in (first, later) for cell in await read_cells(connection, by, scope, judged, each)]
        estimated = await read_estimated(connection, by, scope, first)
        unpriced = [
            Unpriced(model=model, pool=pool, calls=calls, tokens=tokens)
            for model, pool, calls, tokens in await read_unpriced(connection, scope, first)
        ]
    idle = await read_idle(connection, scope.timeframe, windows)
    return _Found(
        cells=cells,
        counts=await count_runs(connection, by, scope, judged),
        estimated=estimated,
        unpriced=unpriced,
        idle=idle,
        pools=await gpu_time(connection, scope.timeframe) if idle and not scope.is_everybody else None,
    )


def _share_idle(sums: Mapping[Key, _Sums], by: By, found: _Found) -> int:
    """Gives lines their shares of the pools' idling; the nano-dollars of pools that nobody used."""
    cells, idle, pools = found.cells, found.idle, found.pools
    unshared = 0
    for pool in {each.pool for each in idle}:
        days = {each.day: each.nano for each in idle if each.pool == pool}
        used: dict[tuple[Key, bool], int] = defaultdict(int)
        for cell in cells:
            if cell.pool == pool:
                used[cell.key, cell.judged] += cell.gpu_us
        used = {place: max(us, 0) for place, us in used.items()}
        mine, nano = sum(used.values()), sum(days.values())
        if not mine:
            unshared += nano if pools is None else 0
            continue
        if pools is not None:
            nano = apportion(nano, {True: mine, False: max(pools.get(pool, 0) - mine, 0)})[True]
        if by is By.DAY:  # a day's idling is that day's, whoever used the pool on others
            judged = {flag: sum(us for place, us in used.items() if place[1] is flag) for flag in (True, False)}
            used = {((day,), flag): cost * us for day, cost in days.items() for flag, us in judged.items()}
        for (key, judged), share in apportion(nano, used).items():
            sums[key].idle += share
            sums[key].idle_judged += share if judged else 0
    return unshared


def _line(group: dict[str, str | None], sums: _Sums, all_completed: int | None) -> CostLine:
    cells, counts = sums.cells, sums.counts
    nano = sum(cell.nano for cell in cells)
    waste = {
        outcome.value: usd_from_nano(sum(cell.nano for cell in cells if cell.outcome == outcome))
        for outcome in Outcome
        if outcome.is_waste
    }
    completed = sum(count.completed for count in counts)
    judged = [each for each in (*cells, *counts) if each.judged]
    passed = sum(count.passed for count in counts if count.judged)
    judged_nano = sum(cell.nano for cell in cells if cell.judged) + sums.idle_judged
    divided = all_completed is not None
    return CostLine(
        group=group,
        runs=None if divided else sum(count.runs for count in counts),
        completed=None if divided else completed,
        passed=passed if judged and not divided else None,
        calls=sum(cell.calls for cell in cells),
        prompt_tokens=sum(cell.prompt for cell in cells),
        cached_tokens=sum(cell.cached for cell in cells),
        output_tokens=sum(cell.output for cell in cells),
        reasoning_tokens=sum(cell.reasoning for cell in cells),
        gpu=timedelta(microseconds=sum(cell.gpu_us for cell in cells)),
        cost=usd_from_nano(nano),
        waste=Waste(**waste),
        idle=usd_from_nano(sums.idle),
        cost_per_completed=_each(nano + sums.idle, completed if all_completed is None else all_completed),
        cost_of_pass=None if divided else _each(judged_nano, passed),
        cache_savings=usd_from_nano(sum(cell.saved_nano for cell in cells)),
        saved=Savings(
            results=sum(cell.kept_results for cell in cells),
            usd=usd_from_nano(sum(cell.kept_nano for cell in cells)),
            tokens=sum(cell.kept_tokens for cell in cells),
        ),
        estimated=usd_from_nano(sums.estimated),
    )


def _each(nano: int, count: int) -> Decimal | None:
    return (usd_from_nano(nano) / count).quantize(Decimal("1e-9"), ROUND_HALF_UP) if count else None
