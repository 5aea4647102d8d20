"""What a process tells Prometheus: names, labels and the moments at which they move.

Every label is bounded: workflows, models, tools, pools, queues, outcomes; never a run's id, and tenants only where the
setting says so. Where the OpenTelemetry GenAI conventions have a metric, ours means the same: input tokens include the
cached ones and output tokens the reasoning, failed attempts count, and an attempt that used nothing counts zero.

Money here is a float and begins anew with the process, and an attempt whose worker was killed is missing: good for
trends, while the ledger is the books.
"""

from datetime import timedelta
from decimal import Decimal

from prometheus_client import CollectorRegistry, Counter, Histogram

from orchestrator.steps import RunScope
from orchestrator.usage import Outcome, Timings, Usage

__all__ = ["TOKEN_TYPES", "Metrics"]

NANO = 1_000_000_000

TOKEN_TYPES = ("input", "cache_read", "output", "reasoning")
"""`cache_read` is part of `input` and `reasoning` part of `output`, so the sum over all types says nothing."""

NAMED = frozenset({"generate", "tool"})
"""Kinds of steps whose names the code bounds. Collections are made by tenants, so their names are no labels."""

_WAITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_FIRST_TOKEN = (0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60)
_PER_TOKEN = (0.002, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5)
_DURATIONS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68)

_ENGINE = ("model", "pool")
_STEP = ("workflow", "kind", "name", "outcome", "tenant")
_CALL = ("workflow", "model", "pool", "outcome", "tenant")


class Metrics:
    """The metrics of one process, in a registry of its own."""

    def __init__(self, *, tenant_labels: bool = False) -> None:
        self._tenant_labels = tenant_labels
        self.registry = registry = CollectorRegistry(auto_describe=False)
        self._attempts = Counter(
            "orchestrator_attempts", "Attempts of paid steps that were settled", _STEP, registry=registry
        )
        self._durations = Histogram(
            "orchestrator_step_duration_seconds",
            "Attempts of paid steps, from reservation to settlement",
            ("kind", "name", "outcome"),
            buckets=_DURATIONS,
            registry=registry,
        )
        self._tokens = Counter(
            "orchestrator_tokens",
            "Tokens of engine calls; cache_read is part of input, reasoning is part of output",
            (*_CALL, "type"),
            registry=registry,
        )
        self._spend = Counter(
            "orchestrator_spend_usd",
            "US dollars settled here. For trends only: the ledger is authoritative",
            ("workflow", "kind", "outcome", "tenant"),
            registry=registry,
        )
        self._waste = Counter(
            "orchestrator_waste_usd",
            "US dollars that bought nothing, results that were thrown away later included. For trends only",
            ("workflow", "outcome", "tenant"),
            registry=registry,
        )
        self._kept = Counter(
            "orchestrator_kept_results",
            "Attempts that a kept result answered, in place of an engine or a tool",
            ("workflow", "kind", "name", "tenant"),
            registry=registry,
        )
        self._saved = Counter(
            "orchestrator_saved_usd",
            "US dollars that kept results cost when they were made. For trends only, and in no spend",
            ("workflow", "kind", "tenant"),
            registry=registry,
        )
        self._refusals = Counter(
            "orchestrator_budget_refusals", "Steps that fitted a budget no more", ("workflow", "limit", "tenant"),
            registry=registry,
        )  # fmt: skip
        self._waits = Histogram(
            "orchestrator_schedule_to_start_seconds",
            "How long attempts waited in Temporal's task queues for a worker",
            ("queue",),
            buckets=_WAITS,
            registry=registry,
        )
        self._first_token = Histogram(
            "orchestrator_ttft_seconds",
            "From the request to the first token that arrived, as the worker sees it",
            _ENGINE,
            buckets=_FIRST_TOKEN,
            registry=registry,
        )
        self._per_token = Histogram(
            "orchestrator_time_per_output_token_seconds",
            "Decode time shared by the tokens after the first, by the engine's clock",
            _ENGINE,
            buckets=_PER_TOKEN,
            registry=registry,
        )
        self._stages = Histogram(
            "orchestrator_engine_stage_seconds",
            "Where engine calls spent their time, by the engine's clock",
            (*_ENGINE, "stage"),
            buckets=_WAITS,
            registry=registry,
        )
        self._engine_queue = Histogram(
            "orchestrator_engine_queue_seconds",
            "How long engine calls waited inside the engine, by its clock",
            _ENGINE,
            buckets=_WAITS,
            registry=registry,
        )

    def observe_wait(self, queue: str, wait: timedelta) -> None:
        """An attempt was taken up by a worker."""
        self._waits.labels(queue).observe(max(0.0, wait.total_seconds()))

    def observe_attempt(
        self, scope: RunScope, *, kind: str, name: str, outcome: Outcome, cost_nano: int, duration: timedelta
    ) -> None:
        """An attempt of a paid step was settled."""
        shown, tenant = name if kind in NAMED else "", self._tenant(scope)
        self._attempts.labels(scope.workflow, kind, shown, outcome, tenant).inc()
        self._durations.labels(kind, shown, outcome).observe(duration.total_seconds())
        self._spend.labels(scope.workflow, kind, outcome, tenant).inc(cost_nano / NANO)
        if outcome.is_waste:
            self._waste.labels(scope.workflow, outcome, tenant).inc(cost_nano / NANO)

    def observe_saving(self, scope: RunScope, *, kind: str, name: str, usd: Decimal) -> None:
        """A kept result answered an attempt; `observe_attempt` is told of it as well."""
        shown, tenant = name if kind in NAMED else "", self._tenant(scope)
        self._kept.labels(scope.workflow, kind, shown, tenant).inc()
        self._saved.labels(scope.workflow, kind, tenant).inc(float(usd))

    def observe_call(
        self,
        scope: RunScope,
        *,
        model: str,
        pool: str,
        outcome: Outcome,
        usage: Usage,
        timings: Timings,
        first_token: timedelta | None,
    ) -> None:
        """An attempt of an engine call was settled; `observe_attempt` is told of it as well."""
        labels = (scope.workflow, model, pool, outcome, self._tenant(scope))
        for token_type, count in zip(
            TOKEN_TYPES, (usage.prompt, usage.cached, usage.output, usage.reasoning), strict=True
        ):
            self._tokens.labels(*labels, token_type).inc(count or 0)
        if first_token is not None:
            self._first_token.labels(model, pool).observe(first_token.total_seconds())
        if timings.queue is not None:
            self._engine_queue.labels(model, pool).observe(timings.queue.total_seconds())
        for stage, time in (("prefill", timings.prefill), ("decode", timings.decode)):
            if time is not None:
                self._stages.labels(model, pool, stage).observe(time.total_seconds())
        if timings.decode is not None and (usage.output or 0) > 1:
            per_token = timings.decode.total_seconds() / ((usage.output or 0) - 1)
            self._per_token.labels(model, pool).observe(per_token)

    def observe_discard(self, scope: RunScope, cost_nano: int) -> None:
        """A run threw away results that it had paid for."""
        self._waste.labels(scope.workflow, Outcome.DISCARDED, self._tenant(scope)).inc(cost_nano / NANO)

    def observe_refusal(self, scope: RunScope, limit: str) -> None:
        """A step fitted a budget no more."""
        self._refusals.labels(scope.workflow, limit, self._tenant(scope)).inc()

    def _tenant(self, scope: RunScope) -> str:
        """The tenant, or nothing: Prometheus takes an empty label for one that isn't there."""
        return scope.tenant if self._tenant_labels else ""
