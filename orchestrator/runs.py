"""Runs, as their callers see them: started, watched, cancelled, billed. Behind the REST API and the command line."""

import hashlib
import json
import logging
import re
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import anyio
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError
from sqlalchemy import select
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from orchestrator.app import Orchestrator
from orchestrator.approving import GRANTS
from orchestrator.database import Database
from orchestrator.errors import IdempotencyConflict, InvalidInput, NoReceiptYet, RunHasEnded, UnknownName
from orchestrator.execution import TENANT
from orchestrator.history import HistoryReader, RunEvent
from orchestrator.images import Image
from orchestrator.inbox import Inbox
from orchestrator.ledger import (
    BillLine,
    By,
    CostReport,
    RunReceipt,
    Timeframe,
    bill,
    cost_report,
    run_receipt,
    run_record,
    runs_of,
    verify,
)
from orchestrator.quotes import Quotes
from orchestrator.signature import ReasoningWorkflow
from orchestrator.standing import WAITING
from orchestrator.steps import TOP_UP, RunStatus, TopUp
from orchestrator.tool import problem_of
from orchestrator.transcripts import TranscriptStore
from orchestrator.usage import Receipt, Usd

__all__ = ["Run", "RunSummary", "Runs", "parsed_top_up"]

logger = logging.getLogger(__name__)

FINGERPRINT = "orchestrator.request"
"""Memo with a digest of workflow and input, by which a reused idempotency key is told from a new request."""

TASK_TIMEOUT = timedelta(seconds=5)
"""A workflow task whose worker was killed is given to another one this much later."""

PROBE = timedelta(seconds=2)
"""How long a server that is asked whether it is there may take to say so."""

_STATUS = {
    WorkflowExecutionStatus.RUNNING: RunStatus.RUNNING,
    WorkflowExecutionStatus.COMPLETED: RunStatus.COMPLETED,
    WorkflowExecutionStatus.FAILED: RunStatus.FAILED,
    WorkflowExecutionStatus.CANCELED: RunStatus.CANCELLED,
    WorkflowExecutionStatus.TERMINATED: RunStatus.TERMINATED,
    WorkflowExecutionStatus.TIMED_OUT: RunStatus.TIMED_OUT,
    WorkflowExecutionStatus.CONTINUED_AS_NEW: RunStatus.RUNNING,
}


class RunProblem(BaseModel):
    """Why a run failed."""

    model_config = ConfigDict(frozen=True)

    type: str
    message: str


class Run(BaseModel):
    """A run with its result and its bill."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    workflow: str
    tenant: str
    status: RunStatus
    started_at: datetime
    closed_at: datetime | None
    waiting: str | None = None
    """What a paused run waits for."""
    result: JsonValue = None
    error: RunProblem | None = None
    receipt: Receipt
    bill: Sequence[BillLine]


class RunSummary(BaseModel):
    """A run in a list."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    workflow: str
    status: RunStatus
    started_at: datetime
    closed_at: datetime | None
    cost: Usd
    """US dollars so far."""
    tokens: int


class Runs:
    """Runs of some apps."""

    def __init__(self, client: Client, database: Database, apps: Sequence[Orchestrator]) -> None:
        self._client = client
        self._database = database
        self._apps = apps

    @property
    def workflows(self) -> Sequence[type[ReasoningWorkflow[Any, Any]]]:
        """What can be started."""
        return [workflow for app in self._apps for workflow in app.workflows]

    @property
    def quotes(self) -> Quotes:
        """What one more run will cost."""
        return Quotes(self._database, self._client)

    @property
    def inbox(self) -> Inbox:
        """What runs ask people."""
        return Inbox(self._client, self._describe)

    async def put_image(self, data: bytes, *, tenant: str, media_type: str | None = None) -> Image:
        """Keeps a picture, so that inputs of runs can name it.

        Args:
            media_type: what its bytes are said to be; by default whatever they are.

        Raises:
            InvalidInput: they are no picture of a kind that is taken, or too many.
        """
        async with self._database.begin(writes_first=True) as connection:
            return await TranscriptStore(self._database).put_image(connection, data, tenant, media_type=media_type)

    async def start(
        self,
        workflow: str,
        value: JsonValue,
        *,
        tenant: str,
        idempotency_key: str | None = None,
        grants: Sequence[str] = (),
    ) -> str:
        """Starts a run; its id. With a key that was used before, the id of the run that it started then.

        Args:
            grants: tools that its model may call without asking a person.

        Raises:
            UnknownName: there is no such workflow, or no such tool to grant.
            InvalidInput: the input breaks its schema.
            IdempotencyConflict: the key was used with another workflow, input or grants.
        """
        app, defined = self._find(workflow)
        parsed = defined.signature.parse(value)
        app.require_tools(grants)
        fingerprint = _digest(workflow, json.dumps(value, sort_keys=True), *sorted(grants))
        if idempotency_key is None:
            run_id = f"{workflow}-{uuid.uuid4().hex[:20]}"
        else:
            # Without the workflow's name, so that the same key with another workflow is seen as a conflict.
            run_id = f"key-{_digest(tenant, idempotency_key)[:20]}"
        try:
            await self._client.start_workflow(
                workflow,
                parsed,
                id=run_id,
                task_queue=app.task_queue,
                task_timeout=TASK_TIMEOUT,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                search_attributes=TypedSearchAttributes([SearchAttributePair(TENANT, tenant)]),
                memo={FINGERPRINT: fingerprint} | ({GRANTS: [*grants]} if grants else {}),
                static_summary=_line(value),
            )
        except WorkflowAlreadyStartedError as error:
            described = await self._client.get_workflow_handle(run_id).describe()
            if (await described.memo()).get(FINGERPRINT) != fingerprint:
                raise IdempotencyConflict(idempotency_key or "", run_id) from error
        return run_id

    async def run(self, run_id: str, *, tenant: str | None = None) -> Run:
        """A run as it stands.

        Raises:
            UnknownName: the tenant has no such run.
        """
        handle, description = await self._describe(run_id, tenant)
        status = _status(description)
        result, problem = None, None
        if status is RunStatus.COMPLETED:
            result = await handle.result()
        elif status.has_ended:
            problem = await self._problem(handle, status)
        async with self._database.read() as connection:
            record = await run_record(connection, run_id)
            lines = [] if record is None else await bill(connection, record.id)
        return Run(
            run_id=run_id,
            workflow=description.workflow_type,
            tenant=description.typed_search_attributes.get(TENANT) or "",
            status=status,
            started_at=description.start_time,
            closed_at=description.close_time,
            waiting=description.typed_search_attributes.get(WAITING),
            result=result,
            error=problem,
            receipt=sum((line.receipt for line in lines), Receipt()),
            bill=lines,
        )

    async def receipt(self, run_id: str, *, tenant: str | None = None, verified: bool = False) -> RunReceipt:
        """What a run was charged for, to the last attempt. The ledger keeps it when Temporal has forgotten the run.

        Raises:
            UnknownName: the tenant has no such run.
            NoReceiptYet: it has taken no paid step.
            DamagedLedger: the ledger's rows can't be read.
        """
        async with self._database.snapshot() as connection:
            with suppress(UnknownName):
                made = await run_receipt(connection, run_id, tenant=tenant)
                verification = await verify(connection, made.execution) if verified else None
                return made.model_copy(update={"verification": verification})
        await self._describe(run_id, tenant)
        raise NoReceiptYet(run_id)

    async def status(self, run_id: str, *, tenant: str | None = None) -> RunStatus:
        """How a run stands.

        Raises:
            UnknownName: the tenant has no such run.
        """
        _, description = await self._describe(run_id, tenant)
        return _status(description)

    async def latest(self, *, tenant: str, limit: int = 20) -> Sequence[RunSummary]:
        """The latest runs that Temporal still keeps, newest first.

        Temporal lists a run a moment after its start; the ledger knows it from its first paid step on.
        """
        query = f"{TENANT.name} = {json.dumps(tenant, ensure_ascii=False)} AND ExecutionStatus != 'ContinuedAsNew'"
        listed = [listed async for listed in self._client.list_workflows(query, limit=limit, page_size=limit)]
        records = {record.workflow_id: record for record in await runs_of(self._database, tenant, limit=limit)}
        return [
            RunSummary(
                run_id=run.id,
                workflow=run.workflow_type,
                status=_status(run),
                started_at=run.start_time,
                closed_at=run.close_time,
                cost=records[run.id].cost if run.id in records else Decimal(0),
                tokens=records[run.id].tokens if run.id in records else 0,
            )
            for run in listed
        ]

    async def costs(
        self, by: By, timeframe: Timeframe, *, tenant: str, workflow: str | None = None, book: str | None = None
    ) -> CostReport:
        """What a tenant's runs of a period cost, by the ledger's charges or by a price book.

        Raises:
            UnknownName: there is no such book.
        """
        return await cost_report(
            self._database, by=by, timeframe=timeframe, tenant=tenant, workflow=workflow, book=book
        )

    async def wait(self, run_id: str) -> Run:
        """A run once it has ended."""
        handle = self._client.get_workflow_handle(run_id)
        with suppress(WorkflowFailureError):
            await handle.result()
        return await self.run(run_id)

    async def cancel(self, run_id: str, *, tenant: str | None = None) -> None:
        """Asks a run to end; its engine calls are aborted and billed.

        Raises:
            UnknownName: the tenant has no such run.
        """
        handle, _ = await self._describe(run_id, tenant)
        try:
            await handle.cancel()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:  # it has ended already
                raise

    async def top_up(self, run_id: str, amount: TopUp, *, tenant: str | None = None) -> None:
        """Adds to a run's budget. One that waits for it goes on; where it has no such limit, the amount says nothing.

        Raises:
            UnknownName: the tenant has no such run.
            RunHasEnded: it has ended.
        """
        handle, description = await self._describe(run_id, tenant)
        status = _status(description)
        if status.has_ended:
            raise RunHasEnded(run_id, status)
        try:
            await handle.signal(TOP_UP, amount)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            raise RunHasEnded(run_id, "ended") from error

    async def events(self, run_id: str, *, after: int = 0, tenant: str | None = None) -> AsyncGenerator[RunEvent]:
        """What happens in a run, from an event on, until the run ends.

        Raises:
            UnknownName: the tenant has no such run.
        """
        handle, _ = await self._describe(run_id, tenant)
        reader = HistoryReader(self._client)
        async for event in handle.fetch_history_events(wait_new_event=True):
            told = await reader.read(event)
            if told is not None and event.event_id > after:
                yield told

    async def unreachable(self) -> Sequence[str]:
        """Which of `database` and `temporal` doesn't answer now."""
        silent: list[str] = []

        async def probe(name: str, ask: Callable[[], Awaitable[object]]) -> None:
            try:
                with anyio.fail_after(PROBE.total_seconds()):
                    await ask()
            except Exception as error:  # whatever the driver raises, it is no answer
                logger.warning("%s doesn't answer: %s: %s", name, type(error).__name__, error)
                silent.append(name)

        async with anyio.create_task_group() as probes:
            probes.start_soon(probe, "database", self._ask_database)
            probes.start_soon(probe, "temporal", self._ask_temporal)
        return sorted(silent)

    async def _ask_database(self) -> None:
        async with self._database.read() as connection:
            await connection.execute(select(1))

    async def _ask_temporal(self) -> None:
        if not await self._client.service_client.check_health():
            raise ConnectionError("it says that it isn't serving")

    def _find(self, name: str) -> tuple[Orchestrator, type[ReasoningWorkflow[Any, Any]]]:
        for app in self._apps:
            for workflow in app.workflows:
                if workflow.signature.name == name:
                    return app, workflow
        raise UnknownName("workflow", name, [workflow.signature.name for workflow in self.workflows])

    async def _describe(self, run_id: str, tenant: str | None) -> tuple[WorkflowHandle[Any, Any], Any]:
        handle = self._client.get_workflow_handle(run_id)
        try:
            description = await handle.describe()
        except RPCError as error:
            if error.status not in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
                raise
            description = None
        if description is None or tenant not in (None, description.typed_search_attributes.get(TENANT)):
            recent = await runs_of(self._database, tenant)
            raise UnknownName("run", run_id, [record.workflow_id for record in recent[:5]])
        return handle, description

    async def _problem(self, handle: WorkflowHandle[Any, Any], status: RunStatus) -> RunProblem:
        try:
            await handle.result()
        except WorkflowFailureError as error:
            cause = error.cause
            kind = getattr(cause, "type", None) or type(cause).__name__
            message = getattr(cause, "message", None) or str(cause)
            return RunProblem(type=str(kind), message=message)
        return RunProblem(type=status, message=f"the run {status}")


def _status(description: WorkflowExecution) -> RunStatus:
    status = _STATUS[description.status or WorkflowExecutionStatus.RUNNING]
    if status is RunStatus.RUNNING and description.typed_search_attributes.get(WAITING):
        return RunStatus.PAUSED
    return status


def parsed_top_up(value: JsonValue) -> TopUp:
    """A top-up out of JSON.

    Raises:
        InvalidInput: it is none.
    """
    try:
        return TopUp.model_validate(value)
    except ValidationError as error:
        raise InvalidInput("the top-up", problem_of(error)) from error


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _line(value: JsonValue) -> str:
    return re.sub(r"\s+", " ", json.dumps(value, ensure_ascii=False))[:200]
