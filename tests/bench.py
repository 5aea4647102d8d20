"""A whole orchestrator for one test: real Temporal, a database, workers, and an engine that is given."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue
from sqlalchemy import Row, select
from temporalio.client import Client
from temporalio.service import RPCError

from orchestrator import Orchestrator
from orchestrator.connect import connect
from orchestrator.database import Database
from orchestrator.database.tables import accounts, charges, runs
from orchestrator.plugin import client_plugin
from orchestrator.runs import Run, Runs
from orchestrator.settings import DatabaseSettings, Settings
from orchestrator.telemetry import Telemetry
from orchestrator.worker import Role, running_workers

__all__ = ["Bench", "bench", "result_of"]


@dataclass(kw_only=True)
class Bench:
    client: Client
    runs: Runs
    database: Database
    settings: Settings
    started: list[str] = field(default_factory=list[str])

    async def start(self, workflow: str, value: JsonValue, **more: Any) -> str:
        run_id = await self.runs.start(workflow, value, tenant="default", **more)
        self.started.append(run_id)
        return run_id

    async def run(self, workflow: str, value: JsonValue) -> Run:
        """Starts a run and waits for its end."""
        return await self.runs.wait(await self.start(workflow, value))

    async def charges(self) -> Sequence[Row[Any]]:
        """All rows of the ledger, in the order in which they were reserved."""
        async with self.database.read() as connection:
            query = select(charges).order_by(charges.c.reserved_at, *charges.primary_key)
            return (await connection.execute(query)).all()

    async def totals(self) -> Sequence[Row[Any]]:
        """All runs with their accounts."""
        query = select(runs, accounts).join(accounts, accounts.c.id == runs.c.id).order_by(runs.c.started_at)
        async with self.database.read() as connection:
            return (await connection.execute(query)).all()


def result_of(run: Run) -> Any:
    """A run's result, to look into without telling the type checker its shape."""
    return run.result


@asynccontextmanager
async def bench(
    apps: Sequence[Orchestrator],
    *,
    temporal: str,
    database_url: str,
    engine: str | None,
    workers: bool = True,
    telemetry: Telemetry | None = None,
) -> AsyncGenerator[Bench]:
    """Runs the workers here unless told otherwise; ends every run that the test left open."""
    settings = Settings(
        database=DatabaseSettings.model_validate({"url": database_url}),
    )
    plugins = () if telemetry is None else telemetry.plugins
    roles = [role for role in Role if role is not Role.ENGINE or engine]
    async with Database.open(database_url) as database:
        client = await connect([*plugins, client_plugin()], address=temporal)
        made = Bench(client=client, runs=Runs(client, database, apps), database=database, settings=settings)
        if not workers:
            roles = []
        async with running_workers(
            apps,
            settings,
            address=temporal,
            engine_urls=[engine] if engine else [],
            roles=roles,
            telemetry=telemetry,
        ):
            try:
                yield made
            finally:
                for run_id in made.started:
                    try:
                        await client.get_workflow_handle(run_id).terminate("the test is over")
                    except RPCError:
                        continue
