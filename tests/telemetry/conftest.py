"""A collector and a process that traces to it: OpenTelemetry has one tracer provider a process, so both are shared."""

from collections.abc import Callable, Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from temporalio.contrib.opentelemetry import ReplaySafeTracerProvider

from orchestrator.settings import TelemetrySettings
from orchestrator.telemetry import Telemetry
from tests.telemetry.collector import Collector, collecting


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="session")
def traced_settings(collector: Collector) -> TelemetrySettings:
    return TelemetrySettings.model_validate({"otlp_endpoint": collector.url})


@pytest.fixture(scope="session")
def exporting(traced_settings: TelemetrySettings) -> Iterator[None]:
    """The process's provider, from the first test that traces on."""
    with Telemetry.open(traced_settings):
        yield


@pytest.fixture
def telemetry(traced_settings: TelemetrySettings, exporting: None) -> Iterator[Telemetry]:
    """Telemetry of the test's own, that traces."""
    with Telemetry.open(traced_settings) as telemetry:
        yield telemetry


@pytest.fixture
def flush(exporting: None) -> Callable[[], None]:
    """Has every span that ended sent to the collector."""

    def flush() -> None:
        provider = trace.get_tracer_provider()
        assert isinstance(provider, ReplaySafeTracerProvider | TracerProvider)
        provider.force_flush()

    return flush
