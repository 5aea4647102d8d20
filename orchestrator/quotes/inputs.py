"""How large the inputs of runs were. The ledger doesn't keep inputs: the first event of a run's history has its own."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

import anyio
from pydantic import BaseModel, ConfigDict
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryRequest
from temporalio.client import Client
from temporalio.service import RPCError

from orchestrator.quotes.past import PastRun

__all__ = ["InputEffect", "input_size", "input_sizes"]

AT_A_TIME = 16
PATIENCE = timedelta(seconds=3)
"""What isn't known by then is left out."""


class InputEffect(BaseModel):
    """What the input's size was found to do."""

    model_config = ConfigDict(frozen=True)

    bytes: int
    """Of the input as Temporal keeps it."""
    runs: int
    """Past runs whose input's size is known."""
    smallest: int | None
    largest: int | None
    scaled: Sequence[str]
    """Figures that were found to grow with the size, and are quoted for this one."""
    beyond: bool
    """Whether the size is outside of those seen, so that what is scaled is a guess."""


async def input_size(client: Client, value: object) -> int:
    """Bytes of an input as Temporal would keep it."""
    return sum(len(payload.data) for payload in await client.data_converter.encode([value]))


async def input_sizes(client: Client, past: Sequence[PastRun]) -> Mapping[str, int]:
    """Bytes of the inputs of runs, by run; without those whose history is gone, or wasn't there in time."""
    sizes: dict[str, int] = {}
    limiter = anyio.CapacityLimiter(AT_A_TIME)

    async def ask(run: PastRun) -> None:
        async with limiter:
            size = await _stored_size(client, run)
        if size is not None:
            sizes[run.id] = size

    with anyio.move_on_after(PATIENCE.total_seconds()):
        async with anyio.create_task_group() as asking:
            for run in past:
                asking.start_soon(ask, run)
    return sizes


async def _stored_size(client: Client, run: PastRun) -> int | None:
    request = GetWorkflowExecutionHistoryRequest(
        namespace=client.namespace,
        execution=WorkflowExecution(workflow_id=run.workflow_id, run_id=run.id),
        maximum_page_size=1,
    )
    try:
        answer = await client.workflow_service.get_workflow_execution_history(request)
    except RPCError:
        return None
    for event in answer.history.events:
        if event.HasField("workflow_execution_started_event_attributes"):
            return _size(event.workflow_execution_started_event_attributes.input)
    return None


def _size(payloads: Payloads) -> int:
    kept: Sequence[Payload] = payloads.payloads
    return sum(len(payload.data) for payload in kept)
