"""`/metrics` over HTTP: of the API, and of worker processes on a port of their own."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import httpx
import pytest

from orchestrator.api import create_api, serving
from orchestrator.errors import ConfigurationError
from orchestrator.local.ports import free_ports, is_free
from orchestrator.settings import TelemetrySettings
from orchestrator.telemetry import Books, Exposition, Metrics, Telemetry, serving_metrics
from orchestrator.testing import Say, scripted_engine
from tests.bench import bench
from tests.programs import programs
from tests.telemetry.reading import Reading
from tests.telemetry.worker import worker_process

ROOT = Path(__file__).parents[2]


async def _scrape(url: str) -> Reading:
    async with httpx.AsyncClient(trust_env=False) as http:
        response = await http.get(url)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    return Reading(response.content)


async def test_the_api_shows_its_process_and_the_ledger(temporal_address: str, database_url: str) -> None:
    telemetry = Telemetry()
    async with (
        scripted_engine([Say("Four.")]) as engine,
        bench(
            [programs.app], temporal=temporal_address, database_url=database_url, engine=engine.url, telemetry=telemetry
        ) as here,
    ):
        run = await here.run("think", "What is 2+2?")
        sources = [Books(here.database)]
        api = create_api(here.runs, settings=here.settings, telemetry=telemetry, sources=sources)
        async with serving(api, "127.0.0.1", 0) as url:
            read = await _scrape(f"{url}/metrics")
    assert read.sum("orchestrator_tokens_total", type="input") == run.receipt.usage.prompt
    assert read.by("orchestrator_runs", "workflow", "status") == {("think", "completed"): 1}
    booked = read.by("orchestrator_ledger_spend_usd", "workflow")
    assert booked == {("think",): pytest.approx(float(run.receipt.cost))}
    counted = read.by("orchestrator_spend_usd_total", "workflow")
    assert counted == booked


async def test_a_worker_shows_metrics_until_it_stops(temporal_address: str, sqlite_url: str, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    (temporal_port,) = free_ports(1)
    variables = {"ORCHESTRATOR_TELEMETRY__TEMPORAL_METRICS_PORT": str(temporal_port)}
    async with (
        scripted_engine([Say("Four.")]) as engine,
        bench([programs.app], temporal=temporal_address, database_url=sqlite_url, engine=None, workers=False) as here,
    ):
        where = (temporal_address, sqlite_url, engine.url, log)
        with worker_process(*where, "--metrics-port", "0", **variables) as worker:
            run = await here.run("think", "What is 2+2?")
            url = await _announced(log)
            read = await _scrape(url)
            temporal = await _scrape(f"http://127.0.0.1:{temporal_port}/metrics")
            os.kill(worker.pid, signal.SIGTERM)
            assert await anyio.to_thread.run_sync(worker.wait) == 0
    assert is_free(int(httpx.URL(url).port or 0))
    assert read.sum("orchestrator_tokens_total", type="output") == run.receipt.usage.output
    assert read.by("orchestrator_source_up", "source") == {
        (source,): 1 for source in ("ledger", "reconciliation", "engines")
    }
    assert read.by("orchestrator_engine_up", "server") == {(engine.url,): 1}
    assert read.sum("orchestrator_runs", status="completed") == 1
    assert temporal.sum("temporal_workflow_completed_total", workflow_type="think") == 1
    assert "temporal_activity_schedule_to_start_latency_seconds" in temporal.families


async def _announced(log: Path) -> str:
    with anyio.fail_after(20):
        while not (said := re.search(r"watched at (\S+)", await anyio.Path(log).read_text())):  # noqa: ASYNC110
            await anyio.sleep(0.05)
    return said[1]


async def test_there_is_nothing_but_metrics() -> None:
    async with (
        serving_metrics(Exposition(Metrics()), "127.0.0.1", 0) as url,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        assert url is not None
        assert (await http.get(url)).status_code == 200
        assert (await http.head(url)).content == b""
        assert (await http.get(url.removesuffix("/metrics"))).status_code == 404


async def test_without_a_port_nothing_is_served() -> None:
    async with serving_metrics(Exposition(Metrics()), "127.0.0.1", None) as url:
        assert url is None


async def test_a_port_in_use_is_one_clear_error() -> None:
    async with serving_metrics(Exposition(Metrics()), "127.0.0.1", 0) as url:
        port = httpx.URL(url or "").port
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}.*METRICS_PORT to a free port"):
            async with serving_metrics(Exposition(Metrics()), "127.0.0.1", port):
                pass
        settings = TelemetrySettings(temporal_metrics_port=port)
        with (
            pytest.raises(ConfigurationError, match=r"Address already in use.*TEMPORAL_METRICS_PORT"),
            Telemetry.open(settings),
        ):
            pass


def test_traces_without_the_sdk_are_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "orchestrator.telemetry.tracing", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    settings = TelemetrySettings.model_validate({"otlp_endpoint": "http://127.0.0.1:4318"})
    with (
        pytest.raises(ConfigurationError, match=r"opentelemetry.* isn't installed.*reasoning-orchestrator\[tracing\]"),
        Telemetry.open(settings),
    ):
        pass


FOREIGN = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from orchestrator.settings import TelemetrySettings
from orchestrator.telemetry import Telemetry

trace.set_tracer_provider(TracerProvider())
with Telemetry.open(TelemetrySettings.model_validate({"otlp_endpoint": "http://127.0.0.1:4318"})):
    pass
"""


async def test_a_provider_that_would_export_replays_is_refused() -> None:
    done = await anyio.run_process([sys.executable, "-c", FOREIGN], cwd=ROOT, check=False, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert "has a tracer provider already (TracerProvider)" in done.stderr.decode().splitlines()[-1]


UNHEARD = """
import time
from opentelemetry import trace
from orchestrator.settings import TelemetrySettings
from orchestrator.telemetry import Telemetry

with Telemetry.open(TelemetrySettings.model_validate({"otlp_endpoint": "http://127.0.0.1:1"})):
    with trace.get_tracer("test").start_as_current_span("unheard"):
        pass
    began = time.monotonic()
print(time.monotonic() - began)
"""


async def test_a_collector_that_is_away_holds_up_the_end_for_three_seconds() -> None:
    done = await anyio.run_process([sys.executable, "-c", UNHEARD], cwd=ROOT)
    assert 2.5 < float(done.stdout) < 5
