"""What engines say of their load now: `GET /v1/loads` of SGLang, read when Prometheus comes.

SGLang's own `/metrics` says far more and is scraped as well; this is what the orchestrator itself goes by, under the
names of its servers and pools.
"""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import httpx
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

__all__ = ["Engines"]

LABELS = ["pool", "server"]
PATIENCE = timedelta(seconds=2)


class Engines:
    """The engines of a pool as a source of metrics."""

    name = "engines"

    def __init__(self, http: httpx.AsyncClient, pool: str, urls: Sequence[str]) -> None:
        self._http = http
        self._pool = pool
        self._urls = urls

    @classmethod
    @asynccontextmanager
    async def open(cls, pool: str, urls: Sequence[str]) -> "AsyncGenerator[Engines]":
        """Connects lazily."""
        async with httpx.AsyncClient(timeout=PATIENCE.total_seconds(), trust_env=False) as http:
            yield cls(http, pool, urls)

    @property
    def empty(self) -> Iterable[Metric]:
        return _Families().all

    async def read(self) -> Sequence[Metric]:
        """One that doesn't answer has only `orchestrator_engine_up` 0."""
        families = _Families()

        async def ask(url: str) -> None:
            labels = [self._pool, url.rstrip("/")]
            try:
                answer = await self._http.get(f"{url.rstrip('/')}/v1/loads", params={"include": "core"})
                ranks: Sequence[dict[str, Any]] = answer.raise_for_status().json()["loads"]
            except (httpx.HTTPError, ValueError, KeyError):
                families.up.add_metric(labels, 0)
                return
            families.up.add_metric(labels, 1)
            families.kv.add_metric(labels, max((rank["token_usage"] for rank in ranks), default=0.0))
            families.running.add_metric(labels, sum(rank["num_running_reqs"] for rank in ranks))
            families.waiting.add_metric(labels, sum(rank["num_waiting_reqs"] for rank in ranks))

        async with anyio.create_task_group() as tasks:
            for url in self._urls:
                tasks.start_soon(ask, url)
        return families.all


class _Families:
    def __init__(self) -> None:
        self.up = GaugeMetricFamily("orchestrator_engine_up", "Whether the engine answers", labels=LABELS)
        self.kv = GaugeMetricFamily(
            "orchestrator_kv_usage_ratio", "Share of the KV cache that is in use; the fullest rank's", labels=LABELS
        )
        self.running = GaugeMetricFamily(
            "orchestrator_engine_running_requests", "Requests that the engine runs", labels=LABELS
        )
        self.waiting = GaugeMetricFamily(
            "orchestrator_engine_waiting_requests", "Requests that wait inside the engine", labels=LABELS
        )

    @property
    def all(self) -> Sequence[Metric]:
        return list(vars(self).values())
