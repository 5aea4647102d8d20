"""Workers, or Temporal itself, are killed in mid-run: nothing is done twice, everything is on the bill."""

import contextlib
import os
import signal
import time
from collections import Counter
from pathlib import Path

import anyio

from orchestrator.local import TemporalServer
from orchestrator.local.ports import is_free
from orchestrator.steps import RunStatus
from orchestrator.testing import Reply, Say, ScriptedEngine, ScriptedRequest, scripted_engine
from tests.bench import Bench, bench
from tests.programs import programs
from tests.workers import worker_process


async def _until_heartbeat_tells(here: Bench, run_id: str, output: int) -> None:
    """Waits until Temporal has a heartbeat by which an attempt had made so many tokens."""
    with anyio.fail_after(20):
        while True:
            description = await here.client.get_workflow_handle(run_id).describe()
            for pending in description.raw_description.pending_activities:
                details = await here.client.data_converter.decode(pending.heartbeat_details.payloads)
                if details and details[0] and details[0].get("output") == output:
                    return
            await anyio.sleep(0.1)


async def test_workers_are_killed(temporal_address: str, database_url: str, tmp_path: Path) -> None:
    def script(request: ScriptedRequest) -> Reply:
        if request.step == 3 and request.attempt == 1:
            return Say("word " * 30, hold_after_tokens=9)
        return Say(f"This is step {request.step}.")

    log = tmp_path / "worker.log"
    async with (
        scripted_engine(script) as engine,
        bench([programs.app], temporal=temporal_address, database_url=database_url, engine=None, workers=False) as here,
    ):
        run_id = await here.start("converse", {"steps": 6})
        with worker_process(temporal_address, database_url, engine.url, log) as worker:
            await engine.wait_until_held()
            await _until_heartbeat_tells(here, run_id, output=9)
            os.kill(worker.pid, signal.SIGKILL)
            worker.wait()
        asked = len(engine.requests)
        restarted = time.monotonic()
        with worker_process(temporal_address, database_url, engine.url, log):
            await engine.wait_for_requests(asked + 1)
            next_call = time.monotonic() - restarted
            run = await here.runs.wait(run_id)
        assert run.status is RunStatus.COMPLETED
        assert next_call < 6
        assert _requests_by_step(engine) == {0: 1, 1: 1, 2: 1, 3: 2, 4: 1, 5: 1}
        await _one_used_row_for_each_step(here, 6)
        (died,) = [row for row in await here.charges() if row.outcome != "used"]
        assert (died.outcome, died.estimated, died.output_tokens) == ("retried", True, 9)
        assert run.receipt.usage.output == engine.served.output_tokens
        assert run.receipt.usage.prompt == engine.served.prompt_tokens
        assert run.receipt.estimated


async def test_temporal_is_killed(database_url: str, tmp_path: Path) -> None:
    def script(request: ScriptedRequest) -> Reply:
        return Say(f"This is step {request.step}.", hold_after_tokens=2 if request.step == 3 else None)

    server = TemporalServer(log=tmp_path / "temporal.log", db_file=tmp_path / "temporal.db", ui=False)
    async with scripted_engine(script) as engine, contextlib.AsyncExitStack() as stack:
        first = contextlib.AsyncExitStack()
        running = await first.enter_async_context(server.start())
        port = int(running.address.rpartition(":")[2])
        here = await stack.enter_async_context(
            bench([programs.app], temporal=running.address, database_url=database_url, engine=engine.url)
        )
        run_id = await here.start("converse", {"steps": 6})
        await engine.wait_until_held()
        os.kill(running.part.pid, signal.SIGKILL)
        await first.aclose()
        with anyio.fail_after(10):
            while not is_free(port):  # noqa: ASYNC110 - a dying process has no event
                await anyio.sleep(0.05)
        engine.release()  # the step ends while there is nobody to tell
        again = TemporalServer(log=tmp_path / "temporal.log", db_file=tmp_path / "temporal.db", ui=False, port=port)
        await stack.enter_async_context(again.start())
        run = await here.runs.wait(run_id)
        assert run.status is RunStatus.COMPLETED
        assert _requests_by_step(engine) == dict.fromkeys(range(6), 1)
        await _one_used_row_for_each_step(here, 6)
        assert run.receipt.usage.output == engine.served.output_tokens
        assert run.receipt.waste == 0


def _requests_by_step(engine: ScriptedEngine) -> dict[int, int]:
    return dict(Counter(record.request.step for record in engine.requests))


async def _one_used_row_for_each_step(here: Bench, steps: int) -> None:
    used = Counter(row.activity_id for row in await here.charges() if row.outcome == "used")
    assert len(used) == steps
    assert set(used.values()) == {1}
