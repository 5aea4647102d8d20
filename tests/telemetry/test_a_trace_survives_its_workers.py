"""A run that changes workers in the middle is still one trace, in which nothing comes twice."""

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from temporalio.worker import Replayer

from orchestrator.settings import TelemetrySettings
from orchestrator.steps import RunStatus
from orchestrator.telemetry import Telemetry
from orchestrator.testing import Reply, Say, ScriptedRequest, scripted_engine
from tests.bench import bench
from tests.programs import programs
from tests.telemetry.collector import Collector
from tests.telemetry.worker import worker_process


def _script(request: ScriptedRequest) -> Reply:
    held = request.step == 3 and request.attempt == 1
    return Say("word " * 30, hold_after_tokens=9) if held else Say(f"This is step {request.step}.")


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
async def test_a_run_that_another_worker_finishes_is_one_span(
    temporal_address: str,
    sqlite_url: str,
    tmp_path: Path,
    collector: Collector,
    traced_settings: TelemetrySettings,
    telemetry: Telemetry,
    ending: signal.Signals,
) -> None:
    environment = {
        "ORCHESTRATOR_TELEMETRY__OTLP_ENDPOINT": str(traced_settings.otlp_endpoint),
        "OTEL_SERVICE_NAME": "a-worker",
        "OTEL_BSP_SCHEDULE_DELAY": "50",  # what a killed process hasn't sent is lost
    }
    log = tmp_path / "worker.log"
    async with (
        scripted_engine(_script) as engine,
        bench(
            [programs.app],
            temporal=temporal_address,
            database_url=sqlite_url,
            engine=None,
            workers=False,
            telemetry=telemetry,
        ) as here,
    ):
        with trace.get_tracer("test").start_as_current_span("a caller") as caller:
            run_id = await here.start("converse", {"steps": 6})
        trace_id = f"{caller.get_span_context().trace_id:032x}"
        where = (temporal_address, sqlite_url, engine.url, log)
        with worker_process(*where, **environment) as worker:
            await engine.wait_until_held()
            await anyio.to_thread.run_sync(_until_told, collector, trace_id, 3)
            os.kill(worker.pid, ending)
            await anyio.to_thread.run_sync(worker.wait)
        asked = len(engine.requests)
        with worker_process(*where, **environment) as worker:
            await engine.wait_for_requests(asked + 1)
            run = await here.runs.wait(run_id)
            ran = await anyio.to_thread.run_sync(collector.wait_for, trace_id, "invoke_workflow converse")
            os.kill(worker.pid, signal.SIGTERM)
            await anyio.to_thread.run_sync(worker.wait)
    assert run.status is RunStatus.COMPLETED
    spans = collector.trace(trace_id)
    assert Counter(span.name for span in spans)["invoke_workflow converse"] == 1
    chats = [span for span in spans if span.name == "chat scripted"]
    outcomes = Counter(chat.attributes["orchestrator.outcome"] for chat in chats)
    # A killed process has told nobody of the call it was in; the ledger knows it all the same.
    assert outcomes == ({"used": 6} if ending is signal.SIGKILL else {"used": 6, "retried": 1})
    assert {chat.parent_id for chat in chats} == {ran.span_id}
    assert ran.began < min(chat.began for chat in chats)
    assert not any(span.failed for span in spans if span.name.startswith("invoke_workflow"))
    assert len({span.span_id for span in spans}) == len(spans)
    assert {span.service for span in spans if span is not ran} <= {"a-worker", "orchestrator"}


def _until_told(collector: Collector, trace_id: str, chats: int) -> None:
    collector.wait_until(lambda: sum(span.name == "chat scripted" for span in collector.trace(trace_id)) >= chats)


@pytest.mark.parametrize("traced", [False, True])
async def test_a_replay_tells_nothing_and_takes_no_other_way(
    temporal_address: str,
    sqlite_url: str,
    collector: Collector,
    telemetry: Telemetry,
    flush: Callable[[], None],
    traced: bool,
) -> None:
    """Whether a run was traced or not, workers that trace and workers that don't can both go on with it."""
    async with (
        scripted_engine([Say("Four.")]) as engine,
        bench(
            [programs.app],
            temporal=temporal_address,
            database_url=sqlite_url,
            engine=engine.url,
            telemetry=telemetry if traced else None,
        ) as here,
    ):
        with trace.get_tracer("test").start_as_current_span("a caller") as caller:
            run = await here.run("think", "What is 2+2?")
        history = await here.client.get_workflow_handle(run.run_id).fetch_history()
    assert run.status is RunStatus.COMPLETED
    trace_id = f"{caller.get_span_context().trace_id:032x}"
    flush()
    before = collector.trace(trace_id)
    assert {"invoke_workflow think", "chat scripted"} <= {span.name for span in before} or not traced
    everything = collector.count
    for plugins in (telemetry.plugins, ()):
        await Replayer(workflows=[], plugins=[*plugins, programs.app.plugin()]).replay_workflow(history)
    flush()
    assert collector.trace(trace_id) == before
    assert collector.count == everything


def test_the_process_has_one_provider(exporting: None) -> None:
    """Telemetry that is opened again joins what traces already, and leaves it open."""
    settings = TelemetrySettings.model_validate({"otlp_endpoint": "http://127.0.0.1:1"})
    before = trace.get_tracer_provider()
    with Telemetry.open(settings) as again:
        assert again.tracing
        assert trace.get_tracer_provider() is before
    assert not isinstance(before, TracerProvider)
    with trace.get_tracer("test").start_as_current_span("after") as span:
        assert span.is_recording()
