"""The telemetry of one process: its metrics, and its traces where they are wanted. Handed down; there is no global."""

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio import activity
from temporalio.plugin import SimplePlugin
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig

from orchestrator.errors import ConfigurationError
from orchestrator.settings import TelemetrySettings
from orchestrator.steps import GENERATE
from orchestrator.telemetry.metrics import Metrics
from orchestrator.telemetry.seen import SeenStep

if TYPE_CHECKING:  # the SDK behind it is an extra, and takes a third of a second to import
    from orchestrator.telemetry.spans import StepSpans

__all__ = ["Telemetry"]


class Telemetry:
    """Sees what the process does."""

    def __init__(
        self, metrics: Metrics | None = None, *, spans: "StepSpans | None" = None, plugins: Sequence[SimplePlugin] = ()
    ) -> None:
        self.metrics = Metrics() if metrics is None else metrics
        self.plugins = tuple(plugins)
        """For Temporal's clients and workers, before all others."""
        self._spans = spans

    @classmethod
    @contextmanager
    def open(cls, settings: TelemetrySettings) -> "Generator[Telemetry]":
        """What the settings ask for, while the body runs; spans that wait are sent at its end.

        Raises:
            ConfigurationError: traces are asked for without what they need.
        """
        metrics = Metrics(tenant_labels=settings.tenant_labels)
        _show_temporal(settings)
        if settings.otlp_endpoint is None:
            yield cls(metrics)
            return
        try:
            from orchestrator.telemetry.spans import StepSpans
            from orchestrator.telemetry.tracing import TRACER, exporting, plugins
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"traces are asked for, and {error.name} isn't installed",
                remedy="Install 'reasoning-orchestrator[tracing]', or leave ORCHESTRATOR_TELEMETRY__OTLP_ENDPOINT out.",
            ) from error
        with exporting(settings) as provider:
            yield cls(metrics, spans=StepSpans(provider.get_tracer(TRACER)), plugins=plugins())

    @property
    def tracing(self) -> bool:
        """Whether spans are made."""
        return self._spans is not None

    @contextmanager
    def step(self, step: SeenStep) -> Generator[None]:
        """Sees one attempt of a paid step, in its activity; it counts if it is settled, however the body ends."""
        info = activity.info()
        step.attempt = info.attempt
        self.metrics.observe_wait(info.task_queue, info.started_time - info.current_attempt_scheduled_time)
        began = time.monotonic()
        try:
            with nullcontext() if self._spans is None else self._spans.span(step):
                yield
        finally:
            self._count(step, timedelta(seconds=time.monotonic() - began))

    def _count(self, step: SeenStep, duration: timedelta) -> None:
        if step.outcome is None:
            return
        self.metrics.observe_attempt(
            step.scope,
            kind=step.kind,
            name=step.name,
            outcome=step.outcome,
            cost_nano=step.cost_nano,
            duration=duration,
        )
        if step.saved is not None:
            self.metrics.observe_saving(step.scope, kind=step.kind, name=step.name, usd=step.saved.usd)
        elif step.kind == GENERATE:
            self.metrics.observe_call(
                step.scope,
                model=step.name,
                pool=step.pool or "",
                outcome=step.outcome,
                usage=step.usage,
                timings=step.timings,
                first_token=step.first_token,
            )


def _show_temporal(settings: TelemetrySettings) -> None:
    """Has Temporal's SDK show its own metrics; its runtime is the process's, and is made once.

    Raises:
        ConfigurationError: it can't listen there.
    """
    if settings.temporal_metrics_port is None:
        return
    address = f"{settings.metrics_host}:{settings.temporal_metrics_port}"
    shown = PrometheusConfig(
        bind_address=address, counters_total_suffix=True, unit_suffix=True, durations_as_seconds=True
    )
    try:
        runtime = Runtime(telemetry=TelemetryConfig(metrics=shown))
    except (RuntimeError, ValueError) as error:
        raise ConfigurationError(
            f"Temporal's metrics can't be served on {address} ({error})",
            remedy="Set ORCHESTRATOR_TELEMETRY__TEMPORAL_METRICS_PORT to a free port, or leave it out.",
        ) from error
    Runtime.set_default(runtime, error_if_already_set=False)
