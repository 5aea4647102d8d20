"""Workers: the processes that run workflows, engine calls, tools and retrieval."""

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import anyio
import httpx
from temporalio.client import Client
from temporalio.worker import PollerBehaviorAutoscaling, Worker

from orchestrator.activities import (
    ConversationActivities,
    EngineActivities,
    LedgerActivities,
    Meter,
    RecordActivities,
    RetrievalActivities,
    ServerActivities,
    ToolActivities,
)
from orchestrator.app import Orchestrator
from orchestrator.attribution import Attribution, Provisional, attributing
from orchestrator.connect import connect, ensure_search_attributes
from orchestrator.database import Database
from orchestrator.engine import ServerInfo, SGLang
from orchestrator.engine.facts import EngineFacts
from orchestrator.errors import ConfigurationError, EngineUnavailable
from orchestrator.keeping import pruning
from orchestrator.ledger import Ledger, PriceBook
from orchestrator.passages import Retriever
from orchestrator.plugin import client_plugin
from orchestrator.plugins import open_retriever
from orchestrator.reconciliation import Sampler, sampling
from orchestrator.settings import Settings
from orchestrator.steps import LEDGER_QUEUE, RETRIEVAL_QUEUE, engine_queue, tools_queue
from orchestrator.sweeping import sweeping
from orchestrator.telemetry import Telemetry
from orchestrator.toolservers import MCPServer
from orchestrator.transcripts import TranscriptStore

__all__ = ["Role", "running_workers"]

logger = logging.getLogger(__name__)

THROTTLE = timedelta(seconds=1)
"""How late a heartbeat may be passed on; it bounds how late a cancellation is seen without worker commands."""
STICKY = timedelta(seconds=2)
"""How long a run's next task waits for the worker that has the run in memory; then any worker replays it."""
GRACE = timedelta(seconds=5)
ENGINE_PAUSE = 1.0


class Role(StrEnum):
    """What a worker process does; by default all of it."""

    WORKFLOWS = "workflows"
    ENGINE = "engine"
    TOOLS = "tools"
    RETRIEVAL = "retrieval"
    LEDGER = "ledger"


@asynccontextmanager
async def running_workers(
    apps: Sequence[Orchestrator],
    settings: Settings,
    *,
    address: str | None = None,
    engine_urls: Sequence[str] = (),
    facts: Path | None = None,
    roles: Sequence[Role] = tuple(Role),
    telemetry: Telemetry | None = None,
) -> AsyncGenerator[None]:
    """Runs the workers of the apps while the body runs; they finish or hand back what they are doing at its end.

    Args:
        apps: whose workflows and tools.
        address: of Temporal, where it isn't the configured one.
        engine_urls: of SGLang servers, where they aren't the configured ones.
        facts: folder in which the engines record their requests, where it isn't the configured one.
        roles: what to run here.
        telemetry: what sees it.

    Raises:
        ConfigurationError: Temporal can't be reached.
        ModelMismatch: an engine serves another model than the one configured.
    """
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            Database.open(settings.database_url, pool_size=settings.database.pool_size)
        )
        client = await connect([], address=address)
        await ensure_search_attributes(client)
        crew = _Crew(stack, settings, database, address, Telemetry() if telemetry is None else telemetry)
        if Role.ENGINE in roles:
            for url in engine_urls or [str(url) for url in settings.engine.urls]:
                await crew.hire_engine(url)
            attribution = Attribution(database, gpus={settings.engine.pool: settings.engine.gpus})
            await stack.enter_async_context(attributing(database, attribution, crew.estimates))
        if Role.WORKFLOWS in roles:
            for app in apps:
                await crew.hire_workflows(app)
        if Role.LEDGER in roles:
            ledger = LedgerActivities(database, crew.ledger, crew.telemetry.metrics)
            record = RecordActivities(crew.meter, TranscriptStore(database))
            conversations = ConversationActivities(crew.meter, TranscriptStore(database))
            await crew.hire(LEDGER_QUEUE, [*ledger.all, *record.all, *conversations.all])
            await stack.enter_async_context(pruning(database, at_most=settings.cache.max_bytes))
            await stack.enter_async_context(sweeping(client, database, _facts(facts or settings.engine.facts)))
        if Role.RETRIEVAL in roles or Role.TOOLS in roles:
            retriever = await stack.enter_async_context(open_retriever(settings, database))
            if Role.RETRIEVAL in roles:
                await crew.hire(RETRIEVAL_QUEUE, [RetrievalActivities(retriever=retriever, meter=crew.meter).retrieve])
            if Role.TOOLS in roles:
                await crew.hire_tools(apps, retriever)
        yield


def _facts(folder: Path | None) -> EngineFacts | None:
    return None if folder is None else EngineFacts(folder)


class _Crew:
    """Workers that share a database; each has a client of its own, since Temporal refuses twins on one client."""

    def __init__(
        self,
        stack: AsyncExitStack,
        settings: Settings,
        database: Database,
        address: str | None,
        telemetry: Telemetry,
    ) -> None:
        self._stack = stack
        self._settings = settings
        self._address = address
        self._database = database
        self.ledger = Ledger(database)
        self.telemetry = telemetry
        self.meter = Meter(database, self.ledger, telemetry)
        self.estimates: list[Provisional] = []
        """Of the engines hired so far."""
        self._transcripts = TranscriptStore(database)

    async def hire(self, queue: str, activities: Sequence[Callable[..., Any]], *, slots: int = 100) -> None:
        """A worker for activities."""
        worker = Worker(
            await self._connect(),
            task_queue=queue,
            activities=activities,
            max_concurrent_activities=slots,
            max_heartbeat_throttle_interval=THROTTLE,
            default_heartbeat_throttle_interval=THROTTLE,
            activity_task_poller_behavior=PollerBehaviorAutoscaling(),
            graceful_shutdown_timeout=GRACE,
            disable_eager_activity_execution=True,
        )
        await self._stack.enter_async_context(worker)

    async def hire_workflows(self, app: Orchestrator) -> None:
        """A worker for an app's workflows."""
        if not app.workflows:
            return
        client = await connect([*self.telemetry.plugins, app.plugin()], address=self._address)
        worker = Worker(
            client,
            task_queue=app.task_queue,
            workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
            sticky_queue_schedule_to_start_timeout=STICKY,
            disable_eager_activity_execution=True,
        )
        await self._stack.enter_async_context(worker)

    async def hire_tools(self, apps: Sequence[Orchestrator], retriever: Retriever) -> None:
        """A worker for each queue that the apps' tools and tool servers name."""
        queues: dict[str, list[Callable[..., Any]]] = {}
        for app in apps:
            for tool in app.tools:
                tools = ToolActivities([tool], transcripts=self._transcripts, meter=self.meter, retriever=retriever)
                queues.setdefault(tool.task_queue or tools_queue(app.name), []).extend(tools.all)
            for server in app.servers:
                activities = await self._reach(app, server)
                queues.setdefault(server.task_queue or tools_queue(app.name), []).extend(activities.all)
        for queue, activities in queues.items():
            await self.hire(queue, activities)

    async def _reach(self, app: Orchestrator, server: MCPServer) -> ServerActivities:
        """The activities of a tool server; it is started when a run first asks, and ended after the worker."""
        try:
            from orchestrator.mcp import Connection  # an extra: only apps that have servers need it
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"app {app.name!r} has the tool server {server.name!r}, and nothing here speaks its protocol ({error})",
                remedy="Install 'reasoning-orchestrator[mcp]'.",
            ) from error
        connection = Connection(server, taken=[tool.name for tool in app.tools])
        self._stack.push_async_callback(connection.aclose)
        return ServerActivities(connection, transcripts=self._transcripts, meter=self.meter)

    async def hire_engine(self, url: str) -> None:
        """A worker for one engine server, once that server answers."""
        engine = await self._stack.enter_async_context(SGLang.open(url, timeout=self._settings.engine.timeout))
        gpu = Provisional(engine.url, gpus=self._settings.engine.gpus)
        self.estimates.append(gpu)
        activities = EngineActivities(
            engine=engine,
            info=await self._describe(engine),
            pool=self._settings.engine.pool,
            transcripts=self._transcripts,
            prices=PriceBook(self._database, self._settings.price),
            meter=self.meter,
            gpu=gpu,
            image_urls=self._settings.engine.image_urls,
        )
        http = await self._stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        sampler = Sampler(self._database, http, server=engine.url, pool=self._settings.engine.pool)
        await self._stack.enter_async_context(sampling(sampler))
        queue = engine_queue(self._settings.engine.pool)
        await self.hire(queue, activities.all, slots=self._settings.engine.concurrency)

    async def _describe(self, engine: SGLang) -> ServerInfo:
        told = self._settings.engine
        waited = False
        while True:
            try:
                info = await engine.describe(wanted=told.model)
                break
            except EngineUnavailable as error:
                if not waited:
                    logger.warning("waiting for an engine: %s", error)
                waited = True
                await anyio.sleep(ENGINE_PAUSE)
        return ServerInfo(
            model=info.model,
            tool_call_parser=told.tool_call_parser or info.tool_call_parser,
            reasoning_parser=told.reasoning_parser or info.reasoning_parser,
        )

    async def _connect(self) -> Client:
        return await connect([*self.telemetry.plugins, client_plugin()], address=self._address)
