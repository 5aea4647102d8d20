"""What GPUs did in a period: worked for calls, idled, or were busy with something else; and what that cost."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import func, select

from orchestrator.database import Database
from orchestrator.database.tables import engine_windows
from orchestrator.errors import UnknownName
from orchestrator.ledger.apportion import apportion
from orchestrator.ledger.prices import HOUR_US
from orchestrator.ledger.timeframes import EVER, Timeframe, at_unix_us, unix_us
from orchestrator.usage import Usd, usd_from_nano

__all__ = ["GpuReport", "GpuTime", "gpu_report"]

PARTS = ("attributed", "idle", "overhead")


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class GpuTime(_Value):
    """Time of a server's GPUs, and its price: `wall` and `cost` are the sums of their three parts, exactly."""

    server: str
    pool: str
    started_at: datetime
    windows: int
    provisional: int
    """Of these windows, those that aren't final yet."""
    methods: dict[str, int]
    """Windows by where their weights come from: `fitted`, `assumed`, or `flat` where a call had no engine times."""
    wall: timedelta
    """Times the GPUs, as all that follow."""
    attributed: timedelta
    """To calls: the sum of their shares."""
    idle: timedelta
    overhead: timedelta
    """Busy with none of our calls: requests that bypass the ledger, health checks, what was retracted."""
    utilisation: Decimal | None
    """The part of `wall` that isn't idle, to four places."""
    cost: Usd
    attributed_cost: Usd
    idle_cost: Usd
    overhead_cost: Usd


class GpuReport(_Value):
    """A period, server by server."""

    servers: Sequence[GpuTime]
    windows: Sequence[GpuTime] | None
    """One by one, where they were asked for."""


async def gpu_report(
    database: Database, timeframe: Timeframe = EVER, *, server: str | None = None, windows: bool = False
) -> GpuReport:
    """What GPUs did in a period; a window is in the period in which it began.

    Raises:
        UnknownName: there are no windows of such a server.
    """
    window = engine_windows.c
    where = [] if server is None else [window.server == server]
    if timeframe.since is not None:
        where.append(window.started_us >= unix_us(timeframe.since))
    if timeframe.until is not None:
        where.append(window.started_us < unix_us(timeframe.until))
    alike = (window.server, window.pool, window.gpu_price, window.method, window.final)
    by_server = select(
        *alike,
        func.min(window.started_us).label("started_us"),
        func.count().label("windows"),
        *(func.sum(window[f"{part}_us"]).label(f"{part}_us") for part in PARTS),
    ).group_by(*alike)
    async with database.read() as connection:
        rows = (await connection.execute(by_server.where(*where).order_by(*alike))).all()
        if server is not None and not rows:
            known = (await connection.execute(select(window.server).distinct())).scalars().all()
            if server not in known:
                raise UnknownName("engine with GPU windows", server, known)
        single: Sequence[Any] = ()
        if windows:
            each = select(engine_windows).where(*where).order_by(window.server, window.started_us)
            single = (await connection.execute(each)).all()
    grouped: defaultdict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in rows:
        grouped[row.server, row.pool].append(row)
    return GpuReport(
        servers=[_time(group) for group in grouped.values()],
        windows=[_time([row]) for row in single] if windows else None,
    )


def _time(rows: Sequence[Any]) -> GpuTime:
    """Rows of one server together."""
    us = {part: sum(int(getattr(row, f"{part}_us")) for row in rows) for part in PARTS}
    priced = {part: sum(int(getattr(row, f"{part}_us")) * row.gpu_price for row in rows) for part in PARTS}
    nano = (sum(priced.values()) + HOUR_US // 2) // HOUR_US
    cost = apportion(nano, priced)
    wall = sum(us.values())
    methods, provisional = Counter[str](), 0
    for row in rows:
        count = getattr(row, "windows", 1)
        methods[row.method] += count
        provisional += 0 if row.final else count
    return GpuTime(
        server=rows[0].server,
        pool=rows[0].pool,
        started_at=at_unix_us(min(row.started_us for row in rows)),
        windows=methods.total(),
        provisional=provisional,
        methods=dict(sorted(methods.items())),
        wall=timedelta(microseconds=wall),
        attributed=timedelta(microseconds=us["attributed"]),
        idle=timedelta(microseconds=us["idle"]),
        overhead=timedelta(microseconds=us["overhead"]),
        utilisation=round(Decimal(wall - us["idle"]) / wall, 4) if wall else None,
        cost=usd_from_nano(nano),
        attributed_cost=usd_from_nano(cost["attributed"]),
        idle_cost=usd_from_nano(cost["idle"]),
        overhead_cost=usd_from_nano(cost["overhead"]),
    )
