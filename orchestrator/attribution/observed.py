"""What the ledger and the counters know of a server's time: its calls, and what it counted beside them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, and_, func, select, union
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.attribution.estimator import Evidence
from orchestrator.attribution.weights import Moments
from orchestrator.attribution.work import Call
from orchestrator.database.tables import charges, engine_counters
from orchestrator.ledger.rows import CALL, same_call
from orchestrator.ledger.timeframes import at_unix_us, unix_us
from orchestrator.steps import GENERATE

__all__ = [
    "KEY",
    "Observed",
    "call_of",
    "last_sign",
    "next_sign",
    "observe",
    "oldest_open",
    "servers",
    "snapshots",
]

KEY = tuple(charges.c[name] for name in CALL)
"""Of a call; its rows differ in `entry`."""

_TOLD = ("entered_us", "prefilled_us", "finished_us")
_COUNTED = ("prompt_tokens", "cached_tokens", "output_tokens")
_COLUMNS = (
    *KEY, charges.c.entry, charges.c.name, charges.c.pool, charges.c.outcome, charges.c.estimated,
    charges.c.reserved_at, charges.c.settled_at, *(charges.c[name] for name in (*_COUNTED, *_TOLD)),
)  # fmt: skip

GRANULARITY_US = 1_000_000
"""SGLang adds to its counter of idle time about every second: so much is missing from it at any time."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """A server's time, with some before and after it."""

    calls: Sequence[Call]
    evidence: Sequence[Evidence]
    moments: Sequence[Moments]
    """Of what was counted in that time itself."""
    pool: str | None
    model: str | None


def call_of(rows: Sequence[Any]) -> Call:
    """A settled call from its rows, in order of entry: tokens add up, and of times the last word counts."""
    base = rows[0]
    times = {
        name: next((time for row in reversed(rows) if (time := getattr(row, name)) is not None), None) for name in _TOLD
    }
    tokens = {name: _sum(getattr(row, name) for row in rows) for name in _COUNTED}
    return Call(
        key=tuple(getattr(base, name) for name in CALL),
        prompt=tokens["prompt_tokens"],
        cached=tokens["cached_tokens"],
        output=tokens["output_tokens"],
        entered=times["entered_us"],
        prefilled=times["prefilled_us"],
        finished=times["finished_us"],
        began=unix_us(base.reserved_at),
        ended=None if base.estimated or base.settled_at is None else unix_us(base.settled_at),
    )


def _sum(figures: Iterable[int | None]) -> int | None:
    known = [figure for figure in figures if figure is not None]
    return sum(known) if known else None


async def oldest_open(connection: AsyncConnection, server: str) -> int | None:
    """When the oldest call was reserved that isn't settled; until then, everything about the server is known."""
    query = select(func.min(charges.c.reserved_at)).where(charges.c.outcome.is_(None), charges.c.server == server)
    oldest = (await connection.execute(query)).scalar_one()
    return None if oldest is None else unix_us(oldest)


async def snapshots(connection: AsyncConnection, server: str, start: int, end: int, lapse: int) -> Sequence[Any]:
    """What the server counted in a time, from the last look before it to the first after it; neither far away."""
    at = engine_counters.c.at_us
    mine = engine_counters.c.server == server
    before = select(func.max(at)).where(mine, at <= start, at > start - lapse).scalar_subquery()
    after = select(func.min(at)).where(mine, at >= end, at < end + lapse).scalar_subquery()
    within = and_(at >= func.coalesce(before, start), at <= func.coalesce(after, end))
    query = select(engine_counters).where(mine, within).order_by(at)
    return (await connection.execute(query)).all()


async def observe(
    connection: AsyncConnection, server: str, start: int, end: int, *, looks: Sequence[Any], longest: int
) -> Observed:
    """All that is known of a server's time.

    Args:
        looks: its `snapshots`.
        longest: microseconds; no call lasts longer.
    """
    low = min([start, *(look.at_us for look in looks)])
    high = max([end, *(look.at_us for look in looks)])
    begun = select(func.min(charges.c.entered_us)).where(*_timed(server, low, high, longest))
    first = (await connection.execute(begun)).scalar_one()
    low = low if first is None else max(low - longest, min(low, first))
    rows = await _rows(connection, server, low, high, longest)
    pool = next((rows_of[0].pool for rows_of in rows if rows_of[0].pool), None)
    return Observed(
        calls=[call_of(rows_of) for rows_of in rows],
        evidence=_evidence(looks),
        moments=[
            moments
            for one, other in pairwise(looks)
            if one.boot == other.boot
            and start <= other.at_us < end
            and (moments := Moments.between(one.moments, other.moments)) is not None
        ],
        pool=pool or next((look.pool for look in looks), None),
        model=rows[-1][0].name if rows else None,
    )


def _timed(server: str, low: int, high: int, longest: int) -> Sequence[ColumnElement[bool]]:
    return (
        charges.c.server == server,
        charges.c.finished_us > low,
        charges.c.finished_us < high + longest,
        charges.c.entered_us < high,
    )


async def _rows(connection: AsyncConnection, server: str, low: int, high: int, longest: int) -> Sequence[Sequence[Any]]:
    """All rows of the calls that were active in a time, or may have been; each call's by entry."""
    timed = select(*KEY).where(*_timed(server, low, high, longest))
    untimed = select(*KEY).where(
        charges.c.server == server,
        charges.c.finished_us.is_(None),
        charges.c.entry == 0,
        charges.c.kind == GENERATE,
        charges.c.reserved_at >= at_unix_us(low - longest),
        charges.c.reserved_at < at_unix_us(high),
    )
    touched = union(timed, untimed).subquery()
    query: Select[Any] = (
        select(*_COLUMNS).join(touched, same_call(charges.c, touched.c)).where(charges.c.outcome.is_not(None))
    )
    by_call: defaultdict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for row in await connection.execute(query.order_by(charges.c.reserved_at, *KEY, charges.c.entry)):
        by_call[row[: len(KEY)]].append(row)
    return list(by_call.values())


def _evidence(looks: Sequence[Any]) -> Sequence[Evidence]:
    """One piece for each boot of the server."""
    pieces: list[Evidence] = []
    by_boot: defaultdict[str, list[Any]] = defaultdict(list)
    for look in looks:
        by_boot[look.boot].append(look)
    for own in by_boot.values():
        first, last = own[0], own[-1]
        if last.at_us > first.at_us:
            idle = _grown(first.idle_us, last.idle_us)
            busy = _grown(first.busy_us, last.busy_us)
            if idle is not None:
                idle += GRANULARITY_US
            elif busy is not None:
                idle = max(0, last.at_us - first.at_us - busy)
            retracted = _grown(first.retracted_tokens, last.retracted_tokens) or 0
            pieces.append(Evidence(start=first.at_us, end=last.at_us, idle_us=idle, retracted=retracted))
    return pieces


def _grown(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None or after < before else after - before


async def last_sign(connection: AsyncConnection, server: str, moment: int, *, lapse: int) -> int | None:
    """When the server was last known to be up, at a moment; `None` where that is longer ago than `lapse`."""
    at, finished = engine_counters.c.at_us, charges.c.finished_us
    looked = select(func.max(at)).where(engine_counters.c.server == server, at <= moment, at >= moment - lapse)
    ended = select(func.max(finished)).where(charges.c.server == server, finished <= moment, finished >= moment - lapse)
    signs = [(await connection.execute(query)).scalar_one() for query in (looked, ended)]
    return max((sign for sign in signs if sign is not None), default=None)


async def next_sign(connection: AsyncConnection, server: str, moment: int, *, longest: int) -> int | None:
    """When the server is first known to have been up after a moment: counted, or busy with one of our calls."""
    at, finished, reserved = engine_counters.c.at_us, charges.c.finished_us, charges.c.reserved_at
    looked = select(func.min(at)).where(engine_counters.c.server == server, at > moment)
    ended = select(func.min(finished)).where(charges.c.server == server, finished > moment)
    untimed = select(func.min(reserved)).where(
        charges.c.server == server,
        finished.is_(None),
        reserved > at_unix_us(moment),
        charges.c.entry == 0,
        charges.c.outcome.is_not(None),
        charges.c.prompt_tokens > 0,
    )
    look, end, began = [(await connection.execute(query)).scalar_one() for query in (looked, ended, untimed)]
    signs = [look, None if began is None else unix_us(began)]
    if end is not None:
        entered = select(func.min(charges.c.entered_us)).where(
            charges.c.server == server, finished > moment, finished < end + longest
        )
        signs.append(max(moment, (await connection.execute(entered)).scalar_one() or end))
    return min((sign for sign in signs if sign is not None), default=None)


async def servers(connection: AsyncConnection, tables: Iterable[Table]) -> Sequence[str]:
    """Every server that the tables name; each is found by its index, however long the tables are."""
    names: set[str] = set()
    for table in tables:
        name, server = "", table.c.server
        while name is not None:
            query = select(func.min(server)).where(server > name)
            name = (await connection.execute(query)).scalar_one()
            if name is not None:
                names.add(name)
    return sorted(names)
