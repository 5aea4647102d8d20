"""`GET /metrics`: the families that meter an engine, named and labelled as SGLang's (`metrics_collector.py`)."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from time import time

from pydantic import JsonValue

from orchestrator.testing.generation import Generation
from orchestrator.testing.scheduler import Scheduler

__all__ = ["decode_moments", "exposition", "prefill_microseconds"]

LABELS = ("tenant", "workflow")
"""The custom labels allowed; a server lists its own in `--tokenizer-metrics-allowed-custom-labels`."""

_COUNTERS = {
    "prompt_tokens_total": "Number of prefill tokens processed.",
    "generation_tokens_total": "Number of generation tokens processed.",
    "num_requests_total": "Number of requests processed.",
    "cached_tokens_total": "Number of cached prompt tokens by source (device/host/storage).",
}
_RANKS = {"moe_ep_rank": "0", "pp_rank": "0", "tp_rank": "0", "priority": ""}


def exposition(scheduler: Scheduler, model: str) -> str:
    """Counters of the requests that are over, and gauges of those that aren't."""
    common = {"engine_type": "unified", "model_name": model}
    totals: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    for generation in scheduler.generations:
        if generation.began is not None and generation.finish is not None:
            _count(totals, generation, common)
    blank = {**common, "priority": "", **dict.fromkeys(LABELS, "")}
    if scheduler.aborts:  # like all counters with labels, it shows from its first count on
        totals["num_aborted_requests_total"][_labels(blank)] = scheduler.aborts
    lines: list[str] = []
    for name, help_text in (*_COUNTERS.items(), ("num_aborted_requests_total", "Number of requests aborted.")):
        lines += _family(name, help_text, "counter", totals[name])
    ranks = _labels({**common, **_RANKS})
    idle = {ranks: _idle_seconds(scheduler)}
    lines += _family("scheduler_idle_seconds_total", "Time without a batch.", "counter", idle)
    started = {_labels({**blank, "phase": "tokenizer_e2e"}): scheduler.began % 1}  # never twice the same
    lines += _family("startup_time_seconds", "Startup time by phase.", "gauge", started)
    lines += _family("num_running_reqs", "The number of running requests.", "gauge", {ranks: scheduler.running})
    lines += _family(
        "num_queue_reqs", "The number of requests in the waiting queue.", "gauge", {ranks: scheduler.waiting}
    )
    return "\n".join(lines) + "\n"


def _count(totals: defaultdict[str, defaultdict[str, int]], generation: Generation, common: Mapping[str, str]) -> None:
    request = generation.request
    labels = {**common, "priority": str(request.priority), **{name: request.labels.get(name, "") for name in LABELS}}
    by_stream = _labels({**labels, "is_streaming": str(request.stream).lower()})
    totals["prompt_tokens_total"][by_stream] += generation.prompt_tokens
    totals["generation_tokens_total"][by_stream] += generation.made
    totals["num_requests_total"][by_stream] += 1
    if generation.cached:
        totals["cached_tokens_total"][_labels({**labels, "cache_source": "device"})] += generation.cached


def _idle_seconds(scheduler: Scheduler) -> float:
    """Time since the start in which no request ran."""
    present = time()
    return max(0.0, present - scheduler.began - sum(end - begin for begin, end in _busy(scheduler, present)))


def _busy(scheduler: Scheduler, present: float) -> Iterator[tuple[float, float]]:
    """The times in which requests ran, in order, none of them overlapping another."""
    spans = sorted(
        (generation.began, generation.ended or present)
        for generation in scheduler.generations
        if generation.began is not None
    )
    until = 0.0
    for begin, end in spans:
        if end > until:
            yield max(begin, until), end
            until = end


def prefill_microseconds(scheduler: Scheduler) -> int:
    """Time from the begins of requests to their first tokens, each by itself."""
    return sum(
        round(1_000_000 * (generation.first_token - generation.began))
        for generation in scheduler.generations
        if generation.first_token is not None and generation.began is not None
    )


def decode_moments(scheduler: Scheduler) -> list[JsonValue]:
    """SGLang's sums over decode steps of n, b, t, b², b·t and tokens made, as if each request were alone: b is 1."""
    steps, spent = 0, 0.0
    for generation in scheduler.generations:
        if generation.made > 1 and generation.first_token is not None:
            steps += generation.made - 1
            spent += 1_000_000 * ((generation.ended or time()) - generation.first_token)
    return [float(steps), float(steps), spent, float(steps), spent, float(steps)]


def _family(name: str, help_text: str, kind: str, samples: Mapping[str, float]) -> Iterator[str]:
    yield f"# HELP sglang:{name} {help_text}"
    yield f"# TYPE sglang:{name} {kind}"
    for labels, value in samples.items():
        yield f"sglang:{name}{labels} {float(value)}"


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in sorted(labels.items())) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
