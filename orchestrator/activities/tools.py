"""The activities that call tools: one for each tool, under the tool's own name."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

from pydantic_core import PydanticSerializationError
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio import activity

from orchestrator.activities.metering import Meter, heartbeats, this_attempt
from orchestrator.activities.reuse import call_key, looked_up
from orchestrator.database import Database
from orchestrator.errors import (
    ConfigurationError,
    OrchestratorError,
    OutputNotSerializable,
    ToolFailed,
    ToolResultTooLarge,
)
from orchestrator.failures import as_failures
from orchestrator.images import Image
from orchestrator.keeping import Kept, KeptResults
from orchestrator.ledger import FREE, FROM_CACHE, Attempt, Bound, Kind, Price
from orchestrator.passages import Retriever, SearchResult
from orchestrator.steps import CallToolRequest, CallToolResult
from orchestrator.tool import Tool
from orchestrator.transcripts import TranscriptStore
from orchestrator.usage import Outcome

__all__ = ["ToolActivities", "kept"]

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
        self._results = KeptResults(meter.database)
        self.all: Sequence[Callable[..., Any]] = [self._activity(tool) for tool in tools]

    def _activity(self, tool: Tool[..., Any]) -> Callable[..., Any]:
        @activity.defn(name=tool.name)
        async def call(request: CallToolRequest) -> CallToolResult:
            with as_failures():
                return await self._call(tool, request)

        return call

    async def _call(self, tool: Tool[..., Any], request: CallToolRequest) -> CallToolResult:
        key = call_key(tool, request)
        if key is None or tool.cache is None:
            return await self._make(tool, request)
        async with looked_up(self._results, request.scope.tenant, key, tool.cache) as found:
            if found is not None:
                return await self._hand_out(tool, request, found)
            return await self._make(tool, request, key)

    async def _hand_out(self, tool: Tool[..., Any], request: CallToolRequest, found: Kept) -> CallToolResult:
        """A result that was had before."""
        async with self._meter.step(request.scope, Kind(kind="tool", name=tool.name), price=FROM_CACHE) as step:
            if step.replayed is not None:
                return CallToolResult.model_validate({**step.replayed.result, "receipt": step.replayed.receipt})
            step.saved = found.saved
            text, plain = found.value["text"], found.value["plain"]
            async with self._meter.database.begin(writes_first=True) as connection:
                if not request.by_reference:
                    answer = {"value": text if plain else json.loads(text)}
                else:
                    answer = {"content": await kept(self._transcripts, connection, text.encode(), request.scope.tenant)}
                receipt = await step.settle(connection, Outcome.USED, answer)
        return CallToolResult.model_validate({**answer, "receipt": receipt})

    async def _make(self, tool: Tool[..., Any], request: CallToolRequest, key: str | None = None) -> CallToolResult:
        """A result of the tool itself, kept under the key."""
        scope = request.scope
        price = Price(call=tool.price_nano, source="tool") if tool.price_nano else FREE
        what, bound = Kind(kind="tool", name=tool.name), Bound(nano=tool.price_nano)
        async with self._meter.step(scope, what, bound=bound, price=price) as step:
            if step.replayed is not None:
                return CallToolResult.model_validate({**step.replayed.result, "receipt": step.replayed.receipt})
            arguments = tool.parse(request.arguments)
            context = _Context(scope.tenant, this_attempt(), self._retriever, self._transcripts, self._meter.database)
            async with heartbeats():
                result = await _run(tool, context, arguments)
            text = _serialized(tool, result)
            async with self._meter.database.begin(writes_first=True) as connection:
                if not request.by_reference:
                    answer = {"value": tool.result.dump_python(result, mode="json")}
                else:
                    answer = {"content": await kept(self._transcripts, connection, text, scope.tenant)}
                receipt = await step.settle(connection, Outcome.USED, answer)
                if key is not None and tool.cache is not None:
                    value = {"text": text.decode(), "plain": isinstance(result, str)}
                    await self._results.keep(
                        connection, scope.tenant, key, value, lasts=tool.cache, cost_nano=step.cost_nano
                    )
        return CallToolResult.model_validate({**answer, "receipt": receipt})


async def kept(transcripts: TranscriptStore, connection: AsyncConnection, text: bytes, tenant: str) -> Any:
    """A result on its way into a transcript, as JSON: itself where it is short, else where it is kept."""
    if len(text) <= INLINE:
        return text.decode()
    return (await transcripts.put_text(connection, text.decode(), tenant)).model_dump(mode="json")


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

    def __init__(
        self,
        tenant: str,
        attempt: Attempt,
        retriever: Retriever | None,
        transcripts: TranscriptStore,
        database: Database,
    ) -> None:
        self.tenant = tenant
        self.idempotency_key = f"{attempt.run_id}:{attempt.activity_id}"
        self._retriever = retriever
        self._transcripts = transcripts
        self._database = database

    def heartbeat(self) -> None:
        activity.heartbeat()

    async def retrieve(self, collection: str, query: str, *, k: int = 5) -> SearchResult:
        return await self._collections.search(self.tenant, collection, query, k=k)

    async def documents(self, collection: str, *, after: str = "", limit: int = 100) -> Sequence[str]:
        return await self._collections.documents(self.tenant, collection, after=after, limit=limit)

    async def document(self, collection: str, name: str) -> str:
        return await self._collections.document(self.tenant, collection, name)

    async def put_image(self, data: bytes, media_type: str | None = None) -> Image:
        async with self._database.begin(writes_first=True) as connection:
            return await self._transcripts.put_image(connection, data, self.tenant, media_type=media_type)

    @property
    def _collections(self) -> Retriever:
        if self._retriever is None:
            raise ConfigurationError(
                "this worker has no retrieval", remedy="Install 'reasoning-orchestrator[retrieval]'."
            )
        return self._retriever
