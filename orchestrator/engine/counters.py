"""What one SGLang server counted since it started: `/metrics`, and the running sums of `/v1/loads`.

`None` is what a server doesn't expose, and never zero. Prometheus shows a labelled counter from its first count on: a
fresh server exposes no `cached_tokens_total` before its first cache hit, and none of the retractions before the first.

What its counters count, read in the source of 0.5.23 and tried on the real server (`tokenizer_manager.py`,
`collect_metrics` and `abort_request`; `metrics_collector.py`, `observe_one_finished_request`):

| | requests, prompt, cached and output tokens | aborted |
|---|---|---|
| finished, streamed or not | yes | no |
| aborted in mid-answer or in its prefill | yes, what was computed | yes |
| client disconnected or killed in mid-answer | yes, what was computed | yes |
| aborted, or its client gone, in the queue | no | yes |
| refused: queue full (503), too long (400) | no | no |
| grammar that doesn't compile (400) | one prompt and one output token | no |
| health checks (`log_metrics=False`) | no | no |
| the request that warms a server up | yes, before it is healthy | no |

A request is counted once, when it ends, at the time of its `request_finished_ts`. One that was retracted and computed
again is counted once too; what was thrown away stands in the counters of retractions.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.engine.sglang import refusal
from orchestrator.errors import ConfigurationError, EngineUnavailable

__all__ = ["EngineCounters", "Moments", "read_counters"]

Moments = Mapping[str, Any]
"""`prefill_tokens` and `prefill_us`, uncached tokens prefilled and the time that took; `decode`, the sums over decode
steps of n, b, t, b², b·t and tokens made, of b sequences in t microseconds."""


@dataclass(frozen=True, kw_only=True)
class EngineCounters:
    """One server's counters at one time, each summed over its labels. Only those of one boot may be compared."""

    server: str
    at_us: int
    """Unix time, by the engine's clock where it tells it."""
    boot: str | None
    """Another one after each start, where the server exposes anything by which to tell."""
    requests: int | None = None
    aborted: int | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    retracted_tokens: int | None = None
    """Prompt and output tokens whose computing was thrown away, to be done again."""
    idle_us: int | None = None
    """Time without a batch, of all ranks together; counted about every second."""
    busy_us: int | None = None
    """Time that the device was busy, with `SGLANG_ENABLE_METRICS_DEVICE_TIMER=1`."""
    moments: Moments | None = None


async def read_counters(http: httpx.AsyncClient, url: str) -> EngineCounters:
    """Scrapes a server.

    Raises:
        EngineUnavailable: nobody answers.
        ConfigurationError: it exposes no metrics.
        EngineError: it refuses.
    """
    server = url.rstrip("/")
    loads = await _get(http, server, "/v1/loads?include=core")
    metrics = await _get(http, server, "/metrics")
    if metrics is None:
        raise ConfigurationError(f"the engine at {server} exposes no metrics", remedy="Start it with --enable-metrics.")
    told: Mapping[str, Any] = {} if loads is None else loads.json()
    return _counters(server, metrics.text, told)


async def _get(http: httpx.AsyncClient, server: str, path: str) -> httpx.Response | None:
    """The answer; `None` where the server has no such route."""
    try:
        response = await http.get(server + path)
    except httpx.TransportError as error:
        raise EngineUnavailable(server, str(error) or type(error).__name__) from error
    if response.status_code == 404:
        return None
    if response.is_error:
        raise refusal(server, response.status_code, response.text[:200] or response.reason_phrase)
    return response


def _counters(server: str, exposition: str, loads: Mapping[str, Any]) -> EngineCounters:
    samples = _Samples(exposition)
    retracted = [samples.count(f"num_retracted_{which}_tokens_total") for which in ("input", "output")]
    return EngineCounters(
        server=server,
        at_us=_clock(loads),
        boot=samples.boot,
        requests=samples.count("num_requests_total"),
        aborted=samples.count("num_aborted_requests_total"),
        prompt_tokens=samples.count("prompt_tokens_total"),
        cached_tokens=samples.count("cached_tokens_total"),
        output_tokens=samples.count("generation_tokens_total"),
        retracted_tokens=None if None in retracted else sum(filter(None, retracted)),
        idle_us=samples.microseconds("scheduler_idle_seconds_total"),
        busy_us=samples.microseconds("forward_execution_seconds_total"),
        moments=_moments(loads.get("loads") or ()),
    )


class _Samples:
    """The samples of an exposition, by name; `sglang:` is left out of theirs."""

    def __init__(self, exposition: str) -> None:
        self._values: defaultdict[str, list[float]] = defaultdict(list)
        for family in text_string_to_metric_families(exposition):
            for sample in family.samples:
                if math.isfinite(sample.value):
                    self._values[sample.name.removeprefix("sglang:")].append(sample.value)

    def _sum(self, name: str) -> float | None:
        values = self._values.get(name)
        return None if values is None else math.fsum(values)

    def count(self, name: str) -> int | None:
        total = self._sum(name)
        return None if total is None else round(total)

    def microseconds(self, name: str) -> int | None:
        total = self._sum(name)
        return None if total is None else round(total * 1_000_000)

    @property
    def boot(self) -> str | None:
        """When the process started, or how long the parts of the start took: to the nanosecond, and so never twice.

        SGLang runs in several processes, whose shared exposition has no `process_start_time_seconds`.
        """
        for name in ("process_start_time_seconds", "startup_time_seconds"):
            if values := self._values.get(name):
                return hashlib.sha256(repr(sorted(values)).encode()).hexdigest()[:32]
        return None


def _clock(loads: Mapping[str, Any]) -> int:
    try:
        at = datetime.fromisoformat(loads["timestamp"])
    except (KeyError, TypeError, ValueError):
        at = datetime.now(UTC)
    return round(at.timestamp() * 1_000_000)


def _moments(ranks: Sequence[Mapping[str, Any]]) -> Moments | None:
    """Summed over the ranks; `None` where some rank doesn't say all of it."""
    prefill_tokens = [rank.get("total_prefill_uncached_tokens") for rank in ranks]
    prefill_us = [rank.get("total_prefill_busy_us") for rank in ranks]
    decode = [rank.get("decode_moments") for rank in ranks]
    if not ranks or any(None in each for each in (prefill_tokens, prefill_us, decode)):
        return None
    return {
        "prefill_tokens": sum(filter(None, prefill_tokens)),
        "prefill_us": sum(filter(None, prefill_us)),
        "decode": [math.fsum(column) for column in zip(*filter(None, decode), strict=True)],
    }
