"""Spans of paid steps, in the words of the OpenTelemetry GenAI conventions (semantic-conventions-genai v0.1.0).

One span for each attempt, since each one costs. Usage and cost stand on these leaves only, so that sums over a trace
count nothing twice. No span carries what was said: neither prompts and answers nor the messages of errors.
"""

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from orchestrator.steps import GENERATE, RETRIEVE
from orchestrator.telemetry.seen import SeenStep
from orchestrator.usage import EngineMoments, Timings

__all__ = ["StepSpans"]

PROVIDER = "sglang"
NANO = 1_000_000_000
_PROPAGATOR = TraceContextTextMapPropagator()


class StepSpans:
    """Makes the spans of steps."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    @contextmanager
    def span(self, step: SeenStep) -> Generator[None]:
        """Covers an attempt; what is known of it at its end is what the span says."""
        kind = SpanKind.INTERNAL if step.kind == "tool" else SpanKind.CLIENT
        name, attributes = _named(step)
        with self._tracer.start_as_current_span(
            name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            _PROPAGATOR.inject(step.headers)
            try:
                yield
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(StatusCode.ERROR)
                raise
            finally:
                span.set_attributes({**step.attributes, **_used(step)})
                self._stages(span, step)

    def _stages(self, span: Span, step: SeenStep) -> None:
        """What the engine says that it did, as children, by its own clock."""
        parent = set_span_in_context(span)
        for stage in _stages(step.timings, step.moments):
            child = self._tracer.start_span(f"engine.{stage.name}", parent, start_time=stage.begin * 1000)
            child.end(end_time=stage.end * 1000)


class _Stage(NamedTuple):
    name: str
    begin: int
    """Unix time in microseconds."""
    end: int


def _stages(timings: Timings, moments: EngineMoments) -> Iterator[_Stage]:
    entered, prefilled, finished = moments.entered, moments.prefilled, moments.finished
    if entered is None:
        return
    if timings.queue is not None:
        yield _Stage("queue", entered - int(timings.queue.total_seconds() * 1_000_000), entered)
    if prefilled is not None:
        yield _Stage("prefill", entered, max(entered, prefilled))
        if finished is not None:
            yield _Stage("decode", prefilled, max(prefilled, finished))


def _named(step: SeenStep) -> tuple[str, Mapping[str, AttributeValue]]:
    common: dict[str, AttributeValue] = {"orchestrator.attempt": step.attempt}
    if step.kind == GENERATE:
        server = urlsplit(step.server or "")
        return f"chat {step.name}", {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": PROVIDER,
            "gen_ai.request.model": step.name,
            "gen_ai.response.model": step.name,
            "openinference.span.kind": "LLM",
            **common,
            **({"gen_ai.response.id": step.rid} if step.rid else {}),
            **({"server.address": server.hostname} if server.hostname else {}),
            **({"server.port": server.port} if server.port else {}),
        }
    if step.kind == RETRIEVE:
        return f"retrieval {step.name}", {
            "gen_ai.operation.name": "retrieval",
            "gen_ai.data_source.id": step.name,
            "openinference.span.kind": "RETRIEVER",
            **common,
        }
    return f"execute_tool {step.name}", {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": step.name,
        "gen_ai.tool.type": "function",
        "openinference.span.kind": "TOOL",
        **common,
    }


def _used(step: SeenStep) -> Mapping[str, AttributeValue]:
    if step.outcome is None:
        return {}
    usage = step.usage
    told = {
        "gen_ai.usage.input_tokens": usage.prompt,
        "gen_ai.usage.output_tokens": usage.output,
        "gen_ai.usage.cache_read.input_tokens": usage.cached,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning,
        "gen_ai.response.time_to_first_chunk": step.first_token.total_seconds() if step.first_token else None,
    }
    return {
        **{name: value for name, value in told.items() if value is not None},
        "orchestrator.outcome": str(step.outcome),
        "orchestrator.estimated": step.estimated,
        "orchestrator.cost.nano_usd": step.cost_nano,
        "llm.cost.total": step.cost_nano / NANO,
        **({} if step.saved is None else {"orchestrator.saved.nano_usd": int(step.saved.usd.scaleb(9))}),
    }
