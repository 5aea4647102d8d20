"""What GPUs cost while no call used them, and who shares in it.

A pool's idling and overhead in a period is shared by those who used the pool in that period, in proportion to the GPU
time on their charges. It stands beside the cost and is never part of it. Windows that aren't final yet count as far as
they are known.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.database.tables import engine_windows
from orchestrator.ledger.exact import gpu_cost
from orchestrator.ledger.repricing import Segment, segment_table
from orchestrator.ledger.timeframes import Timeframe, unix_us

__all__ = ["IdlePool", "read_idle"]

DAY_US = 86_400_000_000

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class IdlePool:
    """A pool's unused GPU time in a UTC day."""

    pool: str
    day: str
    idle_us: int
    """Idle and overhead together, times the GPUs."""
    nano: int


async def read_idle(
    connection: AsyncConnection, timeframe: Timeframe, segments: Sequence[Segment] | None = None
) -> Sequence[IdlePool]:
    """Unused GPU time of a period's windows; a window falls in the period in which it began.

    Args:
        segments: GPU-hour prices to use in place of the windows' own.
    """
    w = engine_windows.c
    unused = w.idle_us + w.overhead_us
    price: Any = w.gpu_price
    day = w.started_us // DAY_US
    table: Any = engine_windows
    if segments is not None:
        book = segment_table(segments)
        price = func.coalesce(book.c.gpu_price, 0)
        fits = and_(book.c.pool == w.pool, w.started_us >= book.c.begin_us, w.started_us < book.c.end_us)
        table = engine_windows.outerjoin(book, fits)
    rows = select(w.pool, day.label("day"), unused.label("unused"), gpu_cost(unused, price).label("nano"))
    rows = rows.select_from(table)
    if timeframe.since is not None:
        rows = rows.where(w.started_us >= unix_us(timeframe.since))
    if timeframe.until is not None:
        rows = rows.where(w.started_us < unix_us(timeframe.until))
    inner = rows.subquery()
    grouped = (inner.c.pool, inner.c.day)
    query = select(*grouped, func.sum(inner.c.unused), func.sum(inner.c.nano)).group_by(*grouped).order_by(*grouped)
    return [
        IdlePool(pool=pool, day=_date(number), idle_us=int(unused_us), nano=int(nano))
        for pool, number, unused_us, nano in await connection.execute(query)
    ]


def _date(number: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=int(number))).date().isoformat()
