"""An OpenTelemetry collector for tests: takes OTLP over HTTP on loopback and keeps the spans.

It runs in a thread of its own, so that it answers whatever the test's loop does, and other processes too.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

__all__ = ["Collector", "Span", "collecting"]


@dataclass(frozen=True, kw_only=True)
class Span:
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    """Empty at the top of a trace."""
    service: str
    began: int
    """Unix time in nanoseconds."""
    ended: int
    failed: bool
    attributes: dict[str, Any]


class Collector:
    """Spans in the order in which they came."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._spans: list[Span] = []
        self._changed = Condition()

    def take(self, spans: Sequence[Span]) -> None:
        with self._changed:
            self._spans.extend(spans)
            self._changed.notify_all()

    @property
    def count(self) -> int:
        """How many have come so far, of all traces."""
        return len(self._spans)

    def trace(self, trace_id: str) -> list[Span]:
        """The spans of one trace that have come so far."""
        with self._changed:
            return [span for span in self._spans if span.trace_id == trace_id]

    def wait_for(self, trace_id: str, name: str) -> Span:
        """The first span of that name, once it has come."""

        def named() -> list[Span]:
            return [span for span in self._spans if (span.trace_id, span.name) == (trace_id, name)]

        self.wait_until(lambda: bool(named()))
        return named()[0]

    def wait_until(self, condition: Callable[[], bool], *, within: float = 30) -> None:
        """Waits for spans to come."""
        with self._changed:
            assert self._changed.wait_for(condition, within), self._spans


@contextmanager
def collecting() -> Generator[Collector]:
    """Collects on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.take(list(_spans(ExportTraceServiceRequest.FromString(body))))
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource in request.resource_spans:
        named = {item.key: item.value.string_value for item in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    name=span.name,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    service=named["service.name"],
                    began=span.start_time_unix_nano,
                    ended=span.end_time_unix_nano,
                    failed=span.status.code == span.status.STATUS_CODE_ERROR,
                    attributes={item.key: _value(item.value) for item in span.attributes},
                )


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))
