"""The ledger's tables as metrics: money, runs, open rows, GPU time. Read when Prometheus comes.

These are the books themselves, unlike what the workers count: corrections, sweeps and attempts of killed workers are in
them. Each figure is one aggregate over a table that has a row for each run, open call or engine window; none goes over
all charges.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import groupby
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.database import Database, now
from orchestrator.database.tables import accounts, charges, engine_counters, engine_windows, runs

__all__ = ["Books"]

NANO = 1_000_000_000
MICRO = 1_000_000
RECENT = timedelta(minutes=10)
"""Counters of engines that are older say nothing about how busy they are."""


class Books:
    """The ledger as a source of metrics."""

    name = "ledger"

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def empty(self) -> Iterable[Metric]:
        return _Families().all

    async def read(self) -> Sequence[Metric]:
        families = _Families()
        async with self._database.read() as connection:
            await _read_runs(connection, families)
            await _read_open(connection, families)
            await _read_windows(connection, families)
            await _read_counters(connection, families)
        return families.all


class _Families:
    def __init__(self) -> None:
        self.runs = GaugeMetricFamily(
            "orchestrator_runs", "Runs on the books that no other run started", labels=["workflow", "status"]
        )
        self.spend = GaugeMetricFamily(
            "orchestrator_ledger_spend_usd",
            "US dollars on the books, of those runs and the runs that they started",
            labels=["workflow", "status"],
        )
        self.open = GaugeMetricFamily(
            "orchestrator_open_reservations", "Rows that are reserved and not settled", labels=["kind"]
        )
        self.overdue = GaugeMetricFamily(
            "orchestrator_overdue_reservations", "Open rows whose attempt must have ended by now", labels=["kind"]
        )
        self.reserved = GaugeMetricFamily(
            "orchestrator_reserved_usd", "US dollars that open rows hold back from budgets", labels=["kind"]
        )
        self.gpu = CounterMetricFamily(
            "orchestrator_gpu_seconds",
            "GPU time of engine windows that are final: attributed to calls, idle, or overhead",
            labels=["pool", "state"],
        )
        self.windows = GaugeMetricFamily(
            "orchestrator_engine_windows", "Windows of GPU time on the books", labels=["pool", "final"]
        )
        self.utilisation = GaugeMetricFamily(
            "orchestrator_gpu_utilization_ratio",
            "Share of the time between the last two readings in which the engine's device was busy",
            labels=["pool", "server"],
        )

    @property
    def all(self) -> Sequence[Metric]:
        return list(vars(self).values())


async def _read_runs(connection: AsyncConnection, families: _Families) -> None:
    nano = func.sum(accounts.c.spent_nano).label("nano")
    query = (
        select(runs.c.workflow, runs.c.status, func.count().label("runs"), nano)
        .select_from(runs.outerjoin(accounts, accounts.c.id == runs.c.id))
        .where(runs.c.parent.is_(None))
        .group_by(runs.c.workflow, runs.c.status)
    )
    for row in (await connection.execute(query)).all():
        families.runs.add_metric([row.workflow, row.status], row.runs)
        families.spend.add_metric([row.workflow, row.status], int(row.nano or 0) / NANO)


async def _read_open(connection: AsyncConnection, families: _Families) -> None:
    query = (
        select(
            charges.c.kind,
            func.count().label("rows"),
            func.sum(case((charges.c.deadline < now(), 1), else_=0)).label("overdue"),
            func.sum(charges.c.reserved_nano).label("nano"),
        )
        .where(charges.c.outcome.is_(None))
        .group_by(charges.c.kind)
    )
    for row in (await connection.execute(query)).all():
        families.open.add_metric([row.kind], row.rows)
        families.overdue.add_metric([row.kind], int(row.overdue))
        families.reserved.add_metric([row.kind], int(row.nano) / NANO)


async def _read_windows(connection: AsyncConnection, families: _Families) -> None:
    table = engine_windows.c
    sums = [func.sum(table[f"{state}_us"]).label(state) for state in ("attributed", "idle", "overhead")]
    query = select(table.pool, table.final, func.count().label("windows"), *sums).group_by(table.pool, table.final)
    for row in (await connection.execute(query)).all():
        families.windows.add_metric([row.pool, "true" if row.final else "false"], row.windows)
        if row.final:
            for state in ("attributed", "idle", "overhead"):
                families.gpu.add_metric([row.pool, state], int(getattr(row, state)) / MICRO)


async def _read_counters(connection: AsyncConnection, families: _Families) -> None:
    table = engine_counters.c
    recent = int((now() - RECENT).timestamp() * MICRO)
    place = func.row_number().over(partition_by=table.server, order_by=table.at_us.desc()).label("place")
    latest = select(engine_counters, place).where(table.at_us > recent).subquery()
    query = select(latest).where(latest.c.place <= 2).order_by(latest.c.server, latest.c.at_us)
    for server, group in groupby((await connection.execute(query)).all(), key=lambda row: row.server):
        readings = list(group)
        if len(readings) == 2 and (busy := _busy_share(*readings)) is not None:
            families.utilisation.add_metric([readings[1].pool, server], busy)


def _busy_share(before: Any, after: Any) -> float | None:
    """By the device's busy time where the server measures it, else by what the scheduler's idle time leaves."""
    wall = after.at_us - before.at_us
    if before.boot != after.boot or wall <= 0:
        return None
    if after.busy_us is not None and before.busy_us is not None:
        return min(1.0, (after.busy_us - before.busy_us) / wall)
    if after.idle_us is not None and before.idle_us is not None:
        return max(0.0, 1 - (after.idle_us - before.idle_us) / wall)
    return None
