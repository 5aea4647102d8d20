"""The record of a run: its input, its result, what tools, retrieval and people said; out of Temporal's histories."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from pydantic import JsonValue, TypeAdapter, ValidationError
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.api.common.v1 import Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from orchestrator.backtests.originals import Original
from orchestrator.backtests.people import answers_of_people
from orchestrator.database.tables import charges
from orchestrator.errors import ToolTimedOut
from orchestrator.reruns import Answer, RecordedFailure, RecordedStep, retrieval_key, tool_key
from orchestrator.steps import RETRIEVE, CallServerToolRequest, CallToolRequest, ListToolsResult, RetrieveRequest
from orchestrator.tool import Tool
from orchestrator.toolservers import ToolListing

__all__ = ["HistoryGone", "RunRecord", "read_record"]

LISTS_TOOLS = ".list_tools"
"""Ends the name of the activity that asks a tool server what it has; the server's name comes before."""

_ENDINGS = (
    "activity_task_completed_event_attributes",
    "activity_task_failed_event_attributes",
    "activity_task_timed_out_event_attributes",
)
_JSON: TypeAdapter[JsonValue] = TypeAdapter(JsonValue)


class HistoryGone(Exception):
    """Temporal doesn't keep the run's history any more."""


@dataclass(kw_only=True)
class RunRecord:
    """What is on record of a run and of the runs that it started."""

    input: JsonValue = None
    result: JsonValue = None
    answers: list[Answer] = field(default_factory=list[Answer])
    """In the order in which they were asked for."""
    listings: dict[str, ToolListing] = field(default_factory=dict[str, ToolListing])


async def read_record(
    client: Client, connection: AsyncConnection, original: Original, tools: Mapping[str, Tool[..., Any]]
) -> RunRecord:
    """Reads it.

    Args:
        tools: those that the app has now, by name, so that arguments are read as it reads them.

    Raises:
        HistoryGone: some of it isn't kept any more.
    """
    reader = _Reader(client, await _costs(connection, original.id), tools)
    try:
        await reader.read(original.workflow_id, original.id, "")
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise HistoryGone from error
        raise
    return reader.record


_StepId = tuple[str, str, str]


async def _costs(connection: AsyncConnection, root: str) -> Mapping[_StepId, int]:
    """Nano-dollars of the steps of a run, by workflow id, execution and activity."""
    c = charges.c
    step = (c.workflow_id, c.run_id, c.activity_id)
    query = select(*step, func.sum(c.cost_nano)).where(c.root == root).group_by(*step)
    return {(row[0], row[1], row[2]): int(row[3] or 0) for row in await connection.execute(query)}


class _Reader:
    """Goes through histories, those of children where they were started."""

    def __init__(self, client: Client, costs: Mapping[_StepId, int], tools: Mapping[str, Tool[..., Any]]) -> None:
        self.record = RunRecord()
        self._client = client
        self._costs = costs
        self._tools = tools

    async def read(self, workflow_id: str, run_id: str, place: str) -> None:
        """A run, and those that went on for it."""
        outermost, begun, children = place == "", False, 0
        following: str | None = run_id
        while following is not None:
            events = await self._events(workflow_id, following)
            self.record.answers += await answers_of_people(self._client, events, place)
            endings = {_scheduled(event): event for event in events if event.WhichOneof("attributes") in _ENDINGS}
            places: dict[int, str] = {}
            here, following = following, None
            for event in events:
                match event.WhichOneof("attributes"):
                    case "workflow_execution_started_event_attributes" if outermost and not begun:
                        begun = True
                        self.record.input = await self._value(event.workflow_execution_started_event_attributes.input)
                    case "workflow_execution_completed_event_attributes" if outermost:
                        result = event.workflow_execution_completed_event_attributes.result
                        self.record.result = await self._value(result)
                    case "workflow_execution_continued_as_new_event_attributes":
                        following = event.workflow_execution_continued_as_new_event_attributes.new_execution_run_id
                    case "activity_task_scheduled_event_attributes":
                        await self._step(workflow_id, here, place, event, endings.get(event.event_id))
                    case "start_child_workflow_execution_initiated_event_attributes":
                        places[event.event_id] = f"{place}/{children}"
                        children += 1
                    case "child_workflow_execution_started_event_attributes":
                        started = event.child_workflow_execution_started_event_attributes
                        child = started.workflow_execution
                        await self.read(child.workflow_id, child.run_id, places[started.initiated_event_id])
                    case _:
                        pass

    async def _events(self, workflow_id: str, run_id: str) -> Sequence[HistoryEvent]:
        handle = self._client.get_workflow_handle(workflow_id, run_id=run_id)
        return [event async for event in handle.fetch_history_events()]

    async def _step(
        self, workflow_id: str, run_id: str, place: str, event: HistoryEvent, ending: HistoryEvent | None
    ) -> None:
        scheduled = event.activity_task_scheduled_event_attributes
        name = scheduled.activity_type.name
        if ending is None:
            return
        if name.endswith(LISTS_TOOLS):
            await self._listing(name.removesuffix(LISTS_TOOLS), ending)
            return
        asked = self._asked(name, await self._value(scheduled.input))
        if asked is None:
            return
        key, tool = asked
        step = (workflow_id, run_id, scheduled.activity_id)
        if step not in self._costs:  # the ledger has lost it
            return
        recorded = RecordedStep(
            workflow_id=workflow_id,
            run_id=run_id,
            activity_id=scheduled.activity_id,
            nano=self._costs[step],
            failure=await self._failure(tool, event, ending),
        )
        self.record.answers.append(Answer(key=key, place=place, step=recorded))

    def _asked(self, activity: str, request: JsonValue) -> tuple[str, str] | None:
        """The key of what a step asked, and the tool's name; `None` for steps that ask no tool and no collection."""
        try:
            if activity == RETRIEVE:
                wanted = RetrieveRequest.model_validate(request)
                return retrieval_key(wanted.collection, wanted.query, wanted.k), wanted.collection
            if not isinstance(request, dict) or "arguments" not in request:
                return None
            call = CallToolRequest.model_validate(request)
            name = CallServerToolRequest.model_validate(request).name if "tool" in request else activity
            return tool_key(name, call.arguments, self._tools.get(name)), name
        except ValidationError:  # an activity of the user's own
            return None

    async def _failure(self, tool: str, event: HistoryEvent, ending: HistoryEvent) -> RecordedFailure | None:
        match ending.WhichOneof("attributes"):
            case "activity_task_failed_event_attributes":
                return await self._told(ending.activity_task_failed_event_attributes.failure)
            case "activity_task_timed_out_event_attributes":
                allowed = event.activity_task_scheduled_event_attributes.start_to_close_timeout.ToTimedelta()
                error = ToolTimedOut(tool, allowed.total_seconds())
                return RecordedFailure(type=type(error).__name__, message=str(error), details=_plain(vars(error)))
            case _:
                return None

    async def _told(self, failure: Failure) -> RecordedFailure:
        error = await self._client.data_converter.decode_failure(failure)
        if not isinstance(error, ApplicationError):
            return RecordedFailure(type=type(error).__name__, message=str(error))
        details = error.details[0] if error.details else None
        return RecordedFailure(type=error.type or "ToolFailed", message=error.message, details=_plain(details))

    async def _listing(self, server: str, ending: HistoryEvent) -> None:
        if ending.HasField("activity_task_completed_event_attributes"):
            told = await self._value(ending.activity_task_completed_event_attributes.result)
            self.record.listings.setdefault(server, ListToolsResult.model_validate(told).listing)

    async def _value(self, payloads: Payloads) -> JsonValue:
        values: Sequence[Any] = await self._client.data_converter.decode(payloads.payloads)
        return cast("JsonValue", values[0]) if values else None


def _scheduled(event: HistoryEvent) -> int:
    attributes = getattr(event, event.WhichOneof("attributes") or "")
    return cast("int", attributes.scheduled_event_id)


def _plain(value: Any) -> JsonValue:
    """What of it is JSON."""
    try:
        return _JSON.validate_python(value)
    except ValidationError:
        return None
