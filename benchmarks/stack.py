"""What benchmarks run on: the real Temporal with its tuned settings, SQLite, our workers, a scripted engine."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from temporalio.client import Client
from temporalio.worker import PollerBehaviorAutoscaling, Worker

from benchmarks.bare import BareSteps, bare_step
from benchmarks.programs import app
from orchestrator.connect import connect
from orchestrator.local import TemporalServer
from orchestrator.plugin import client_plugin
from orchestrator.session import upgraded_database
from orchestrator.settings import Settings
from orchestrator.testing import Script, ScriptedEngine, scripted_engine
from orchestrator.worker import running_workers

__all__ = ["bench_stack"]


@asynccontextmanager
async def bench_stack(script: Script) -> AsyncGenerator[tuple[Client, ScriptedEngine]]:
    """Our workers and those of the baseline, side by side on one server."""
    with TemporaryDirectory(prefix="bench-") as folder:
        state = Path(folder)
        settings = Settings(state=state)
        server = TemporalServer(log=state / "temporal.log", db_file=state / "temporal.db", ui=False)
        async with (
            server.start() as temporal,
            scripted_engine(script) as engine,
            upgraded_database(settings),
            running_workers([app], settings, address=temporal.address, engine_urls=[engine.url]),
        ):
            client = await connect([client_plugin()], address=temporal.address)
            bare = await connect([client_plugin()], address=temporal.address)
            activities = await connect([client_plugin()], address=temporal.address)
            polling = PollerBehaviorAutoscaling()
            async with (
                Worker(bare, task_queue="bare", workflows=[BareSteps], workflow_task_poller_behavior=polling),
                Worker(
                    activities,
                    task_queue="bare-steps",
                    activities=[bare_step],
                    activity_task_poller_behavior=polling,
                    disable_eager_activity_execution=True,
                ),
            ):
                yield client, engine
