"""The activities that call tools: one for each tool, under the tool's own name."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from pydantic_core import PydanticSerializationError
from temporalio import activity

from orchestrator.activities.metering import Meter, heartbeats, this_attempt
from orchestrator.errors import (
    ConfigurationError,
    OrchestratorError,
    OutputNotSerializable,
    ToolFailed,
    ToolResultTooLarge,
)
from orchestrator.failures import as_failures
from orchestrator.ledger import FREE, Attempt, Bound, Kind, Price
from orchestrator.passages import Retriever, SearchResult
from orchestrator.steps import CallToolRequest, CallToolResult
from orchestrator.tool import Tool
from orchestrator.transcripts import TranscriptStore
from orchestrator.usage import Outcome

__all__ = ["ToolActivities"]

INLINE = 512
"""Bytes of a result that may travel through history rather than by reference."""


class ToolActivities:
    """The activities of an app's tools."""

    def __init__(
        self,
        tools: Sequence[Tool[..., Any]],
        *,
        transcripts: TranscriptStore,
        meter: Meter,
        retriever: Retriever | None,
    ) -> None:
        self._transcripts = transcripts
        self._meter = meter
        self._retriever = retriever
        self.all: Sequence[Callable[..., Any]] = [self._activity(tool) for tool in tools]

    def _activity(self, tool: Tool[..., Any]) -> Callable[..., Any]:
        @activity.defn(name=tool.name)
        async def call(request: CallToolRequest) -> CallToolResult:
            with as_failures():
                return await self._call(tool, request)

        return call

    async def _call(self, tool: Tool[..., Any], request: CallToolRequest) -> CallToolResult:
        scope = request.scope
        price = Price(call=tool.price_nano, source="tool") if tool.price_nano else FREE
        what, bound = Kind(kind="tool", name=tool.name), Bound(nano=tool.price_nano)
        async with self._meter.step(scope, what, bound=bound, price=price) as step:
            if step.replayed is not None:
                return CallToolResult.model_validate({**step.replayed.result, "receipt": step.replayed.receipt})
            arguments = tool.parse(request.arguments)
            context = _Context(scope.tenant, this_attempt(), self._retriever)
            async with heartbeats():
                result = await _run(tool, context, arguments)
            text = _serialized(tool, result)
            async with self._meter.database.begin(writes_first=True) as connection:
                if not request.by_reference:
                    answer = {"value": tool.result.dump_python(result, mode="json")}
                elif len(text) <= INLINE:
                    answer = {"content": text.decode()}
                else:
                    ref = await self._transcripts.put_text(connection, text.decode(), scope.tenant)
                    answer = {"content": ref.model_dump(mode="json")}
                receipt = await step.settle(connection, Outcome.USED, answer)
        return CallToolResult.model_validate({**answer, "receipt": receipt})


async def _run(tool: Tool[..., Any], context: "_Context", arguments: dict[str, Any]) -> Any:
    try:
        return await tool.function(context, **arguments)
    except (asyncio.CancelledError, OrchestratorError):
        raise
    except Exception as error:
        raise ToolFailed(tool.name, f"{type(error).__name__}: {error}") from error


def _serialized(tool: Tool[..., Any], result: Any) -> bytes:
    try:
        text = result.encode() if isinstance(result, str) else tool.result.dump_json(result, warnings="error")
    except (PydanticSerializationError, UnicodeEncodeError) as error:
        raise OutputNotSerializable(f"tool {tool.name!r}", f"{type(result).__name__} ({error})") from error
    if len(text) > tool.max_result:
        raise ToolResultTooLarge(tool.name, len(text), tool.max_result)
    return text


class _Context:
    """The `ToolContext` of one attempt."""

    def __init__(self, tenant: str, attempt: Attempt, retriever: Retriever | None) -> None:
        self.tenant = tenant
        self.idempotency_key = f"{attempt.run_id}:{attempt.activity_id}"
        self._retriever = retriever

    def heartbeat(self) -> None:
        activity.heartbeat()

    async def retrieve(self, collection: str, query: str, *, k: int = 5) -> SearchResult:
        if self._retriever is None:
            raise ConfigurationError(
                "this worker has no retrieval", remedy="Install 'reasoning-orchestrator[retrieval]'."
            )
        return await self._retriever.search(self.tenant, collection, query, k=k)
