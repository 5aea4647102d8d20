"""What can be asked of the API under `/v1`."""

import inspect
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, JsonValue

from orchestrator.api.dependencies import Body, Tenant, TheRuns, context
from orchestrator.api.events import EventStream, event_id
from orchestrator.api.problems import (
    BodyTooLarge,
    InvalidRequest,
    MalformedBody,
    MalformedEventId,
    UnsupportedMediaType,
    documented,
)
from orchestrator.api.shutdown import Shutdown
from orchestrator.budget import Budget
from orchestrator.errors import IdempotencyConflict, InvalidInput, RunHasEnded, UnknownName
from orchestrator.history import RunEvent
from orchestrator.runs import Run, RunSummary, parsed_top_up
from orchestrator.signature import ReasoningWorkflow
from orchestrator.steps import RunStatus, TopUp

__all__ = ["router"]

router = APIRouter(prefix="/v1")


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class StartedRun(_Answer):
    run_id: str
    status: RunStatus
    """`running`, unless the idempotency key is that of an earlier run."""


class Workflow(_Answer):
    """What can be started."""

    name: str
    app: str
    description: str
    input_schema: dict[str, JsonValue]
    output_schema: dict[str, JsonValue]
    budget: Budget | None
    """What one run may spend; `null` where nothing bounds it."""


class Workflows(_Answer):
    workflows: Sequence[Workflow]


class RunList(_Answer):
    runs: Sequence[RunSummary]
    """The latest first."""


JSON_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The workflow's input; `GET /v1/workflows` has its schema.",
        "content": {"application/json": {"schema": {}}},
    }
}


@router.get("/workflows", summary="List workflows")
async def list_workflows(runs: TheRuns) -> Workflows:
    """What can be started, with the schemas of input and result."""
    return Workflows(workflows=[_described(workflow) for workflow in runs.workflows])


@router.post(
    "/workflows/{name}/runs",
    summary="Start a run",
    status_code=202,
    response_description="The run is started; `Location` is where it can be seen.",
    openapi_extra=JSON_BODY,
    responses=documented(
        MalformedBody,
        UnknownName,
        IdempotencyConflict,
        BodyTooLarge,
        UnsupportedMediaType,
        InvalidInput,
        InvalidRequest,
    ),
)
async def start_run(
    name: str,
    value: Body,
    runs: TheRuns,
    tenant: Tenant,
    response: Response,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            description="Sent again with the same request, it starts no second run.",
        ),
    ] = None,
    grants: Annotated[
        str | None,
        Header(description="Tools that its model may call without asking a person, separated by commas."),
    ] = None,
) -> StartedRun:
    """Starts a run of a workflow, with the body as its input."""
    granted = [grant for each in (grants or "").split(",") if (grant := each.strip())]
    run_id = await runs.start(name, value, tenant=tenant, idempotency_key=idempotency_key, grants=granted)
    status = RunStatus.RUNNING if idempotency_key is None else await runs.status(run_id)
    response.headers["Location"] = f"/v1/runs/{run_id}"
    return StartedRun(run_id=run_id, status=status)


@router.get("/runs", summary="List runs", responses=documented(InvalidRequest))
async def list_runs(runs: TheRuns, tenant: Tenant, limit: Annotated[int, Query(ge=1, le=200)] = 20) -> RunList:
    """The latest runs. One that was just started may take a moment to be listed."""
    return RunList(runs=await runs.latest(tenant=tenant, limit=limit))


@router.get("/runs/{run_id}", summary="See a run", responses=documented(UnknownName))
async def see_run(run_id: str, runs: TheRuns, tenant: Tenant) -> Run:
    """A run as it stands: its state, its result once it has one, and its bill so far."""
    return await runs.run(run_id, tenant=tenant)


@router.post(
    "/runs/{run_id}/cancel",
    summary="Cancel a run",
    status_code=202,
    response_description="The run is asked to end; one that has ended stays as it is.",
    response_class=Response,
    responses=documented(UnknownName),
)
async def cancel_run(run_id: str, runs: TheRuns, tenant: Tenant) -> Response:
    """Asks a run to end. Its engine calls are aborted, and billed as far as they got."""
    await runs.cancel(run_id, tenant=tenant)
    return Response(status_code=202, headers={"Location": f"/v1/runs/{run_id}"})


@router.post(
    "/runs/{run_id}/top-up",
    summary="Raise a run's budget",
    status_code=202,
    response_description="The run is told; one that waits for it goes on.",
    response_class=Response,
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "What is added to its limits.",
            "content": {"application/json": {"schema": TopUp.model_json_schema()}},
        }
    },
    responses=documented(MalformedBody, UnknownName, RunHasEnded, BodyTooLarge, UnsupportedMediaType, InvalidInput),
)
async def top_up_run(run_id: str, value: Body, runs: TheRuns, tenant: Tenant) -> Response:
    """Adds to a run's budget, while it runs or waits. A limit that the run doesn't have stays away."""
    await runs.top_up(run_id, parsed_top_up(value), tenant=tenant)
    return Response(status_code=202, headers={"Location": f"/v1/runs/{run_id}"})


@router.get(
    "/runs/{run_id}/events",
    summary="Watch a run",
    status_code=200,
    response_class=EventStream,
    response_description="Server-Sent Events: `id` and `event` as in the JSON that is `data`.",
    responses={
        200: {"model": RunEvent},
        204: {"description": "The run has ended, and the client has its last event: don't reconnect."},
        **documented(MalformedEventId, UnknownName, InvalidRequest),
    },
)
async def watch_run(
    run_id: str,
    request: Request,
    runs: TheRuns,
    tenant: Tenant,
    after: Annotated[int, Query(ge=0, description="The id of the last event that isn't wanted.")] = 0,
    last_event_id: Annotated[
        str | None,
        Header(alias="Last-Event-ID", description="The id of the last event received; stands above `after`."),
    ] = None,
) -> Response:
    """What happens in a run, while it happens, up to its last event `run.completed`, `run.failed`, ...

    A stream that ends before is resumed with `Last-Event-ID`, as browsers do by themselves: no event is lost or
    comes twice.
    """
    if last_event_id is not None:
        after = event_id(last_event_id)
    status = await runs.status(run_id, tenant=tenant)
    events = runs.events(run_id, after=after, tenant=tenant)
    if status.has_ended:
        # A browser reconnects after the end of any stream; only 204 stops it.
        first = await anext(events, None)
        if first is None:
            return Response(status_code=204)
        events = _preceded(first, events)
    return EventStream(events, ping=context(request).ping, shutdown=Shutdown.of(request))


async def _preceded(first: RunEvent, events: AsyncGenerator[RunEvent]) -> AsyncGenerator[RunEvent]:
    async with aclosing(events):
        yield first
        async for event in events:
            yield event


def _described(workflow: type[ReasoningWorkflow[Any, Any]]) -> Workflow:
    return Workflow(
        name=workflow.signature.name,
        app=workflow.orchestrator_app.name,
        description=inspect.cleandoc(workflow.__doc__ or ""),
        input_schema=workflow.signature.input_schema,
        output_schema=workflow.signature.output_schema,
        budget=workflow.orchestrator_budget,
    )
