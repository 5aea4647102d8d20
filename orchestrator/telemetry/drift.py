"""How far the ledger and the engines' own counters are apart, server by server. Read when Prometheus comes.

It goes over the calls of the last hour, so it is done at most once a minute, however often it is asked for.
"""

import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import groupby

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from orchestrator.database import Database, now
from orchestrator.ledger.timeframes import Timeframe
from orchestrator.reconciliation import Quantity, Reconciliation, reconcile

__all__ = ["Drift"]

WINDOW = timedelta(hours=1)
FRESH = timedelta(minutes=1)


class Drift:
    """The comparison of ledger and engines as a source of metrics."""

    name = "reconciliation"

    def __init__(self, database: Database) -> None:
        self._database = database
        self._told: Sequence[Metric] = ()
        self._read_at = float("-inf")

    @property
    def empty(self) -> Iterable[Metric]:
        return _Families().all

    async def read(self) -> Sequence[Metric]:
        if time.monotonic() - self._read_at >= FRESH.total_seconds():
            self._told = await self._compare()
            self._read_at = time.monotonic()
        return self._told

    async def _compare(self) -> Sequence[Metric]:
        families = _Families()
        compared = await reconcile(self._database, Timeframe(since=now() - WINDOW))
        for server, stretches in groupby(compared, key=lambda stretch: stretch.server):
            families.add(server, list(stretches))
        return families.all


class _Families:
    def __init__(self) -> None:
        self.drift = GaugeMetricFamily(
            "orchestrator_ledger_drift_tokens",
            "How many tokens more than the engine the ledger counted in the last hour; below 0, calls went past it",
            labels=["server", "type"],
        )
        self.coverage = GaugeMetricFamily(
            "orchestrator_ledger_coverage_ratio",
            "Share of the input and output tokens that the engine counted in the last hour which the ledger has",
            labels=["server"],
        )

    def add(self, server: str, stretches: Sequence[Reconciliation]) -> None:
        kinds = {
            "input": [stretch.prompt for stretch in stretches],
            "cache_read": [stretch.cached for stretch in stretches],
            "output": [stretch.output for stretch in stretches],
        }
        for kind, quantities in kinds.items():
            if (drift := _total(quantities).drift) is not None:
                self.drift.add_metric([server, kind], drift)
        if (coverage := _total([*kinds["input"], *kinds["output"]]).coverage) is not None:
            self.coverage.add_metric([server], coverage)

    @property
    def all(self) -> Sequence[Metric]:
        return [self.drift, self.coverage]


def _total(quantities: Sequence[Quantity]) -> Quantity:
    return sum(quantities, Quantity(ledger=0, engine=0))
