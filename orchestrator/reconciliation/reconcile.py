"""The comparison: an engine's counters between two snapshots against the ledger's calls that ended between them.

The rule: over any stretch without a restart, the sums of `prompt_tokens`, `cached_tokens` and `output_tokens` of the
ledger's rows of that server (cancelled, retried, failed and discarded attempts, and corrections, included) equal the
growth of the engine's counters. What those count, and so what a row must have to agree, is in
`orchestrator.engine.counters`. Retracted tokens are in neither.

Edges: the engine counts a call when it ends, and the row's `finished_us` is that very moment, by the same clock. Where
a server tells no time, a snapshot is timed by our clock, and a call that ends while it is taken may fall on the
other side of it: then one window has too much, and the next too little. So windows that disagree are joined with their
neighbours, and only what doesn't cancel is a drift.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.database import Database
from orchestrator.database.tables import engine_counters
from orchestrator.ledger.timeframes import EVER, Timeframe, at_unix_us, unix_us
from orchestrator.reconciliation.calls import Call, calls_of
from orchestrator.reconciliation.values import Quantity, Reconciliation

__all__ = ["reconcile"]


async def reconcile(database: Database, period: Timeframe = EVER, *, server: str | None = None) -> list[Reconciliation]:
    """Stretches in which ledger and engine agree, and stretches in which they don't, server by server in order of time.

    Args:
        period: what lies between its first and its last snapshot is compared.
        server: its URL; by default every server that was sampled.
    """
    query = select(engine_counters).order_by(engine_counters.c.server, engine_counters.c.at_us)
    if server is not None:
        query = query.where(engine_counters.c.server == server.rstrip("/"))
    if period.since is not None:
        query = query.where(engine_counters.c.at_us >= unix_us(period.since))
    if period.until is not None:
        query = query.where(engine_counters.c.at_us < unix_us(period.until))
    reconciliations: list[Reconciliation] = []
    async with database.snapshot() as connection:
        snapshots = (await connection.execute(query)).all()
        for name, of_server in groupby(snapshots, key=lambda snapshot: snapshot.server):
            reconciliations += await _of_server(connection, name, list(of_server))
    return reconciliations


@dataclass
class _Sums:
    """The ledger's side of one window."""

    prompt: int = 0
    cached: int = 0
    output: int = 0
    requests: int = 0
    estimated: int = 0

    def add(self, call: Call) -> None:
        self.prompt += call.prompt
        self.cached += call.cached
        self.output += call.output
        self.requests += call.computed
        self.estimated += call.estimated


async def _of_server(connection: AsyncConnection, server: str, snapshots: Sequence[Any]) -> list[Reconciliation]:
    times: list[int] = [snapshot.at_us for snapshot in snapshots]
    sums = [_Sums() for _ in times]
    """The one at `i` is of the window that ends with snapshot `i`."""
    opened: list[int] = []
    if len(times) > 1:
        async for call in calls_of(connection, server, times[0], times[-1]):
            if call.open:
                opened.append(call.at_us)
            else:
                sums[bisect_left(times, call.at_us)].add(call)
    windows = [
        _window(before, after, sums[number], sum(at <= after.at_us for at in opened))
        for number, (before, after) in enumerate(pairwise(snapshots), start=1)
        if before.boot == after.boot
    ]
    return _joined(windows)


def _window(before: Any, after: Any, sums: _Sums, opened: int) -> Reconciliation:
    return Reconciliation(
        server=after.server,
        since=at_unix_us(before.at_us),
        until=at_unix_us(after.at_us),
        prompt=Quantity(ledger=sums.prompt, engine=_growth(before.prompt_tokens, after.prompt_tokens)),
        cached=Quantity(ledger=sums.cached, engine=_growth(before.cached_tokens, after.cached_tokens)),
        output=Quantity(ledger=sums.output, engine=_growth(before.output_tokens, after.output_tokens)),
        requests=Quantity(ledger=sums.requests, engine=_growth(before.requests, after.requests)),
        aborted=_growth(before.aborted, after.aborted),
        retracted_tokens=_growth(before.retracted_tokens, after.retracted_tokens),
        open=opened,
        estimated=sums.estimated,
    )


def _growth(before: int | None, after: int | None) -> int | None:
    """A counter shows with its first count: within one boot, what wasn't exposed before had counted nothing."""
    return None if after is None else after - (before or 0)


def _joined(windows: Sequence[Reconciliation]) -> list[Reconciliation]:
    """As few stretches as tell where the difference is: neighbours that agree, that disagree, or that cancel out."""
    stretches: list[Reconciliation] = []
    for window in windows:
        stretches.append(window)
        while (joined := _last_joined(stretches)) is not None:
            number, stretch = joined
            stretches[-number:] = [stretch]
    return stretches


def _last_joined(stretches: Sequence[Reconciliation]) -> tuple[int, Reconciliation] | None:
    """How many of the last stretches belong together, and what they are as one."""
    if len(stretches) > 1 and stretches[-2].until == stretches[-1].since:
        before, last = stretches[-2:]
        if before.agrees == last.agrees:
            return 2, before.joined(last)
        if len(stretches) > 2 and stretches[-3].until == before.since:
            whole = stretches[-3].joined(before).joined(last)
            if before.agrees and whole.agrees:
                return 3, whole
    return None
