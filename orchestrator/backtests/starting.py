"""Starts reruns: the same workflow with the same input, told by a header what it is answered from."""

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import anyio
from pydantic import JsonValue
from sqlalchemy import select
from temporalio.api.common.v1 import Payload
from temporalio.client import (
    Client,
    Interceptor,
    OutboundInterceptor,
    StartWorkflowInput,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from orchestrator.backtests.originals import Figures, figures_of
from orchestrator.database import Database
from orchestrator.database.tables import runs
from orchestrator.execution import INHERITANCE, TALLY, TENANT
from orchestrator.reruns import Tally
from orchestrator.signature import ReasoningWorkflow
from orchestrator.steps import Inheritance, RunStatus, workflows_queue

__all__ = ["BACKTEST_OF", "Ended", "rerun"]

BACKTEST_OF = "orchestrator.backtest-of"
"""Memo with the workflow id of the original."""
TASK_TIMEOUT = timedelta(seconds=5)
CANCELLING = timedelta(seconds=5)

_STATUS = {
    WorkflowExecutionStatus.COMPLETED: RunStatus.COMPLETED,
    WorkflowExecutionStatus.CANCELED: RunStatus.CANCELLED,
    WorkflowExecutionStatus.TERMINATED: RunStatus.TERMINATED,
    WorkflowExecutionStatus.TIMED_OUT: RunStatus.TIMED_OUT,
}


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a rerun ended."""

    run_id: str
    status: RunStatus
    result: JsonValue
    error: str | None
    error_type: str | None
    passed: bool | None
    figures: Figures
    tally: Tally
    """Of it and of the runs that it started."""


async def rerun(
    client: Client,
    database: Database,
    definition: type[ReasoningWorkflow[Any, Any]],
    value: Any,
    inheritance: Inheritance,
    *,
    timeout: timedelta,
) -> Ended:
    """Runs it to its end. Where the caller is cancelled, so is the rerun."""
    assert inheritance.rerun is not None
    original = inheritance.rerun.of
    payload = client.data_converter.payload_converter.to_payload(inheritance)
    handle = await _with_header(client, payload).start_workflow(
        definition.signature.name,
        value,
        id=f"backtest-{definition.signature.name}-{uuid.uuid4().hex[:20]}",
        task_queue=workflows_queue(definition.orchestrator_app.name),
        task_timeout=TASK_TIMEOUT,
        execution_timeout=timeout,
        search_attributes=TypedSearchAttributes([SearchAttributePair(TENANT, inheritance.tenant)]),
        memo={BACKTEST_OF: original},
        static_summary=f"backtest of {original}",
    )
    result, error, error_type = None, None, None
    try:
        result = await handle.result()
    except WorkflowFailureError as failure:
        cause = failure.cause
        error_type = cause.type if isinstance(cause, ApplicationError) else type(cause).__name__
        error = getattr(cause, "message", None) or str(cause)
    except anyio.get_cancelled_exc_class():
        with anyio.move_on_after(CANCELLING.total_seconds(), shield=True):
            await handle.cancel()
        raise
    status = (await handle.describe()).status
    passed, figures, tally = await _on_the_ledger(client, database, handle)
    return Ended(
        run_id=handle.id,
        status=RunStatus.FAILED if status is None else _STATUS.get(status, RunStatus.FAILED),
        result=result,
        error=error,
        error_type=error_type,
        passed=passed,
        figures=figures,
        tally=tally,
    )


async def _on_the_ledger(
    client: Client, database: Database, handle: WorkflowHandle[Any, Any]
) -> tuple[bool | None, Figures, Tally]:
    root = handle.first_execution_run_id or ""
    async with database.snapshot() as connection:
        figures = (await figures_of(connection, [root]))[root]
        query = select(runs.c.id, runs.c.workflow_id, runs.c.passed).where(runs.c.root == root)
        rows = (await connection.execute(query)).all()
    passed = next((row.passed for row in rows if row.id == root), None)
    total = Tally()
    for workflow_id in {handle.id, *(row.workflow_id for row in rows)}:
        total = _sum(total, await _tally(client, workflow_id))
    return passed, figures, total


async def _tally(client: Client, workflow_id: str) -> Tally:
    try:
        description = await client.get_workflow_handle(workflow_id).describe()
        return Tally.model_validate(await description.memo_value(TALLY, {}))
    except RPCError:
        return Tally()


def _sum(one: Tally, other: Tally) -> Tally:
    return Tally(
        answered=one.answered + other.answered,
        live=one.live + other.live,
        off_record=one.off_record + other.off_record,
        nano=one.nano + other.nano,
        strategies=one.strategies + other.strategies,
    )


def _with_header(client: Client, payload: Payload) -> Client:
    """The same client, with a header on what it starts: Temporal's own has no argument for one."""
    config = client.config()
    config["interceptors"] = [*config["interceptors"], _Handing(payload)]
    return Client(**config)


class _Handing(Interceptor):
    def __init__(self, payload: Payload) -> None:
        self._payload = payload

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002 - the name is Temporal's
        return _Outbound(next, self._payload)


class _Outbound(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, payload: Payload) -> None:  # noqa: A002
        super().__init__(next)
        self._payload = payload

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:  # noqa: A002
        input.headers = {**input.headers, INHERITANCE: self._payload}
        return await super().start_workflow(input)
