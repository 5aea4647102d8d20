"""`/metrics`: what a process counted, and what it reads for the occasion.

A source is read at scrape time, but at most every `FRESH`: figures of the ledger are queries over whole tables, and
several Prometheus servers may come. A source that doesn't answer is left out, and `orchestrator_source_up` says so;
the process's own counters are always shown.
"""

import logging
import time
from collections.abc import AsyncGenerator, Generator, Iterable, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from socket import SOCK_STREAM, socket
from typing import Protocol

import anyio
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import Receive, Scope, Send

from orchestrator.errors import ConfigurationError
from orchestrator.telemetry.metrics import Metrics

__all__ = ["CONTENT_TYPE", "Exposition", "Source", "serving_metrics"]

logger = logging.getLogger(__name__)

CONTENT_TYPE = CONTENT_TYPE_LATEST
FRESH = timedelta(seconds=10)
PATIENCE = timedelta(seconds=5)
"""How long a source may take; Prometheus itself waits ten seconds."""


class Source(Protocol):
    """Figures that are read when they are asked for.

    They are the same wherever they are read, so a query takes their maximum over the processes that show them, not
    their sum.
    """

    @property
    def name(self) -> str:
        """What its failures are reported under."""
        ...

    @property
    def empty(self) -> Iterable[Metric]:
        """Its families without samples: what it can tell."""
        ...

    async def read(self) -> Iterable[Metric]:
        """What it tells now."""
        ...


class Exposition:
    """The text that Prometheus reads."""

    def __init__(self, metrics: Metrics, sources: Sequence[Source] = (), *, fresh: timedelta = FRESH) -> None:
        self._read = _Read(sources)
        self._shown = CollectorRegistry()
        self._shown.register(_Counted(metrics))
        self._shown.register(self._read)
        self._fresh = fresh.total_seconds()
        self._read_at = float("-inf")
        self._reading = anyio.Lock()

    async def text(self) -> bytes:
        """All metrics, in Prometheus's text format."""
        async with self._reading:
            if time.monotonic() - self._read_at >= self._fresh:
                await self._read.again()
                self._read_at = time.monotonic()
        return generate_latest(self._shown)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As an ASGI application of its own, with nothing but `/metrics`."""
        assert scope["type"] == "http"
        found = scope["path"] == "/metrics"
        body = await self.text() if found else b"there is only /metrics here\n"
        kind = CONTENT_TYPE if found else "text/plain"
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200 if found else 404, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


class _Counted(Collector):
    """What the process counted, without the times at which each series began: they double what is scraped."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        for family in self._metrics.registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family


class _Read(Collector):
    """What the sources told last."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._told: dict[str, Iterable[Metric]] = {}

    async def again(self) -> None:
        """Asks every source, all at the same time."""
        async with anyio.create_task_group() as tasks:
            for source in self._sources:
                tasks.start_soon(self._ask, source)

    def collect(self) -> Iterable[Metric]:
        up = GaugeMetricFamily(
            "orchestrator_source_up", "Whether a source of figures answered when it was last asked", labels=["source"]
        )
        for source in self._sources:
            told = self._told.get(source.name)
            up.add_metric([source.name], told is not None)
            yield from source.empty if told is None else told
        yield up

    async def _ask(self, source: Source) -> None:
        try:
            with anyio.fail_after(PATIENCE.total_seconds()):
                self._told[source.name] = await source.read()
        except Exception as error:  # whatever the driver raises, it is no answer
            logger.warning("no metrics of the %s: %s: %s", source.name, type(error).__name__, error)
            self._told.pop(source.name, None)


@asynccontextmanager
async def serving_metrics(exposition: Exposition, host: str, port: int | None) -> AsyncGenerator[str | None]:
    """Serves `/metrics` on a port of its own while the body runs, for processes that serve nothing else; its URL.

    Args:
        port: 0 for a free one; `None` serves nothing.

    Raises:
        ConfigurationError: it can't listen there.
    """
    if port is None:
        yield None
        return
    from uvicorn import Config, Server

    class Listening(Server):
        async def startup(self, sockets: list[socket] | None = None) -> None:
            await super().startup(sockets)
            accepting.set()

        @contextmanager
        def capture_signals(self) -> Generator[None]:
            yield  # the process decides when it ends

    async def serve() -> None:
        with anyio.CancelScope(shield=True):
            await server.serve([listener])

    accepting = anyio.Event()
    config = Config(exposition, interface="asgi3", lifespan="off", log_config=None, access_log=False, ws="none")
    config.timeout_graceful_shutdown = 1
    server = Listening(config)
    with await _listen(host, port) as listener:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            try:
                await accepting.wait()
                bound: int = listener.getsockname()[1]
                yield f"http://{f'[{host}]' if ':' in host else host}:{bound}/metrics"
            finally:
                server.should_exit = True


async def _listen(host: str, port: int) -> socket:
    try:
        infos = await anyio.getaddrinfo(host, port, type=SOCK_STREAM)
        family, _, _, _, address = infos[0]
        listener = socket(family, SOCK_STREAM)
        try:
            listener.bind(address)
            listener.listen()
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ConfigurationError(
            f"metrics can't be served on {host}:{port} ({error.strerror})",
            remedy="Set ORCHESTRATOR_TELEMETRY__METRICS_PORT to a free port, or leave it out.",
        ) from error
    return listener
