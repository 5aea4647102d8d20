"""Traces: one from the HTTP request through the workflow and its activities to the engine.

Imported only where traces are wanted, since the OpenTelemetry SDK is an extra. Temporal's own plugin carries the
trace's context in headers and keeps workflows deterministic: span ids come from the workflow's seed, nothing is
exported in replay, and a run that another worker takes over ends its span there, once, with the same id. It finds the
tracer provider where OpenTelemetry keeps it for the whole process, so that is where ours is put.
"""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from threading import Timer
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from temporalio import workflow
from temporalio.contrib.opentelemetry import OpenTelemetryPlugin, ReplaySafeTracerProvider, create_tracer_provider
from temporalio.plugin import SimplePlugin
from temporalio.worker import (
    ExecuteWorkflowInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from orchestrator.errors import ConfigurationError
from orchestrator.settings import TelemetrySettings

__all__ = ["TRACER", "exporting", "plugins"]

TRACER = "orchestrator"
PATIENCE = timedelta(seconds=3)
"""How long a process that ends tries to reach its collector."""


@contextmanager
def exporting(settings: TelemetrySettings) -> Generator[ReplaySafeTracerProvider]:
    """Sends the process's spans to the collector of the settings while the body runs.

    What OpenTelemetry's own variables say holds where the settings say nothing: `OTEL_SERVICE_NAME`,
    `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_BSP_*`. A program that has
    set a replay-safe provider of its own keeps it.

    Raises:
        ConfigurationError: the process has a provider that isn't safe in replays.
    """
    present = trace.get_tracer_provider()
    if isinstance(present, ReplaySafeTracerProvider):
        yield present
        return
    if not isinstance(present, trace.ProxyTracerProvider):
        raise ConfigurationError(
            f"the process has a tracer provider already ({type(present).__name__}) that would export spans of replays",
            remedy="Create it with temporalio.contrib.opentelemetry.create_tracer_provider, or leave it to us.",
        )
    named = Resource.create({"service.name": settings.service_name}).merge(OTELResourceDetector().detect())
    provider = create_tracer_provider(resource=named, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{str(settings.otlp_endpoint).rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    try:
        yield provider
    finally:
        impatience = Timer(PATIENCE.total_seconds(), exporter.shutdown)
        impatience.start()
        provider.shutdown()  # sends what waits; by itself, it would try again for ten seconds
        impatience.cancel()


def plugins() -> tuple[SimplePlugin, ...]:
    """For every client and worker of a process that traces; before all others, so that their effects are inside."""
    return (OpenTelemetryPlugin(), SimplePlugin("orchestrator.tracing", interceptors=[_WorkflowSpans()]))


class _WorkflowSpans(Interceptor):
    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002 - the name is Temporal's
    ) -> type[WorkflowInboundInterceptor]:
        return _WorkflowSpan


class _WorkflowSpan(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002
        info = workflow.info()
        attributes = {
            "gen_ai.operation.name": "invoke_workflow",
            "gen_ai.agent.name": info.workflow_type,
            "openinference.span.kind": "CHAIN",
            "temporalWorkflowID": info.workflow_id,
            "temporalRunID": info.run_id,
        }
        with trace.get_tracer(TRACER).start_as_current_span(
            f"invoke_workflow {info.workflow_type}", attributes=attributes
        ):
            return await super().execute_workflow(input)
