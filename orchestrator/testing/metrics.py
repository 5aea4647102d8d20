"""`GET /metrics`: the families that meter an engine, named and labelled as SGLang's (`metrics_collector.py`)."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from orchestrator.testing.generation import Generation
from orchestrator.testing.scheduler import Scheduler

__all__ = ["exposition"]

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
    totals["num_aborted_requests_total"][_labels(blank)] = scheduler.aborts
    lines: list[str] = []
    for name, help_text in (*_COUNTERS.items(), ("num_aborted_requests_total", "Number of requests aborted.")):
        lines += _family(name, help_text, "counter", totals[name])
    ranks = _labels({**common, **_RANKS})
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


def _family(name: str, help_text: str, kind: str, samples: Mapping[str, int]) -> Iterator[str]:
    yield f"# HELP sglang:{name} {help_text}"
    yield f"# TYPE sglang:{name} {kind}"
    for labels, value in samples.items():
        yield f"sglang:{name}{labels} {float(value)}"


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in sorted(labels.items())) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
