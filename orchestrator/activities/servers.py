"""The activities of a tool server: what tools it has, and calls of them, each under the server's name."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue
from pydantic_core import to_json
from temporalio import activity

from orchestrator.activities.metering import Meter, heartbeats, step_name, this_attempt
from orchestrator.activities.tools import kept
from orchestrator.errors import (
    InvalidInput,
    ToolFailed,
    ToolReportedFailure,
    ToolResultTooLarge,
    ToolServerFailed,
    ToolTimedOut,
)
from orchestrator.failures import as_failures
from orchestrator.ledger import FREE, Bound, Kind, Price
from orchestrator.steps import CallServerToolRequest, CallToolResult, ListToolsRequest, ListToolsResult
from orchestrator.toolservers import ServerTool, parse_arguments
from orchestrator.transcripts import TranscriptStore
from orchestrator.usage import Outcome

if TYPE_CHECKING:  # it needs the extra `mcp`
    from orchestrator.mcp import Answer, Connection

__all__ = ["ServerActivities"]

LONGEST_FAILURE = 2_000
"""Characters of what a tool says went wrong."""


class ServerActivities:
    """The activities of one tool server."""

    def __init__(self, connection: "Connection", *, transcripts: TranscriptStore, meter: Meter) -> None:
        self._connection = connection
        self._server = connection.server
        self._transcripts = transcripts
        self._meter = meter
        server = self._server

        @activity.defn(name=server.list_activity)
        async def list_tools(request: ListToolsRequest) -> ListToolsResult:
            with as_failures():
                return await self._list_tools(request)

        @activity.defn(name=server.call_activity)
        async def call_tool(request: CallServerToolRequest) -> CallToolResult:
            with as_failures():
                return await self._call_tool(request)

        self.all: Sequence[Callable[..., Any]] = [list_tools, call_tool]

    async def _list_tools(self, request: ListToolsRequest) -> ListToolsResult:
        what = Kind(kind="tool", name=self._server.list_activity)
        async with self._meter.step(request.scope, what) as step:
            if step.replayed is not None:
                return ListToolsResult.model_validate({**step.replayed.result, "receipt": step.replayed.receipt})
            async with heartbeats():
                listing = await self._connection.listing()
            async with self._meter.database.begin(writes_first=True) as connection:
                receipt = await step.settle(connection, Outcome.USED, {"listing": listing.model_dump(mode="json")})
        return ListToolsResult(listing=listing, receipt=receipt)

    async def _call_tool(self, request: CallServerToolRequest) -> CallToolResult:
        nano = self._server.price_nano
        price = Price(call=nano, source="tool") if nano else FREE
        what = Kind(kind="tool", name=f"{self._server.name}.{request.tool}")
        async with self._meter.step(request.scope, what, bound=Bound(nano=nano), price=price) as step:
            if step.replayed is not None:
                return CallToolResult.model_validate({**step.replayed.result, "receipt": step.replayed.receipt})
            async with heartbeats():
                answer = await self._answer(request)
            found = self._text(request, answer) if request.by_reference else self._value(request, answer)
            async with self._meter.database.begin(writes_first=True) as connection:
                if isinstance(found, bytes):
                    result = {"content": await kept(self._transcripts, connection, found, request.scope.tenant)}
                else:
                    result = {"value": found}
                receipt = await step.settle(connection, Outcome.USED, result)
        return CallToolResult.model_validate({**result, "receipt": receipt})

    async def _answer(self, request: CallServerToolRequest) -> "Answer":
        from orchestrator.mcp import CallFailed

        arguments = parse_arguments(request.name, request.arguments)
        try:
            problem = await self._connection.problem_with(request.tool, arguments)
            if problem is not None:
                raise InvalidInput(f"tool {request.name!r}", problem)
            return await self._connection.call(request.tool, arguments, key=step_name(this_attempt()))
        except TimeoutError as error:
            seconds = self._server.timeout.total_seconds()
            raise ToolTimedOut(request.name, seconds, setting=ServerTool.timeout_setting) from error
        except (CallFailed, ToolServerFailed) as error:
            raise ToolFailed(request.name, str(error)) from error

    def _text(self, request: CallServerToolRequest, answer: "Answer") -> bytes:
        """What the model reads, be it of a failure."""
        if answer.failed:
            return f"error: {_failure(answer)}".encode()
        return self._within_bounds(request, answer.text.encode())

    def _value(self, request: CallServerToolRequest, answer: "Answer") -> JsonValue:
        if answer.failed:
            raise ToolReportedFailure(request.name, _failure(answer))
        self._within_bounds(request, to_json(answer.value))
        return answer.value

    def _within_bounds(self, request: CallServerToolRequest, result: bytes) -> bytes:
        if len(result) > self._server.max_result:
            raise ToolResultTooLarge(request.name, len(result), self._server.max_result)
        return result


def _failure(answer: "Answer") -> str:
    return answer.text[:LONGEST_FAILURE] or "it doesn't say why"
