"""How a workflow's steps run: each one activity, its failure our own error again, its receipt on the run's bill.

Deterministic. `RunContext` and `Transcript` are what users see of it.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import JsonValue
from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeKey
from temporalio.exceptions import ActivityError, CancelledError

from orchestrator.budget import Budget
from orchestrator.errors import DefinitionError, ToolTimedOut
from orchestrator.failures import cause_of, timed_out
from orchestrator.messages import Message
from orchestrator.steps import (
    CLOSE_RUN,
    GENERATE,
    LEDGER_QUEUE,
    RETRIEVAL_QUEUE,
    RETRIEVE,
    CallToolRequest,
    CallToolResult,
    CloseRunRequest,
    GenerateRequest,
    GenerateResult,
    RetrieveRequest,
    RetrieveResult,
    RunScope,
    RunStatus,
    Sampling,
    ToolChoice,
    engine_queue,
    tools_queue,
)
from orchestrator.tool import Tool, ToolOwner
from orchestrator.usage import Receipt

__all__ = ["COST_USD", "TENANT", "TOKENS", "Execution"]

R = TypeVar("R")

TENANT = SearchAttributeKey.for_keyword("Tenant")
COST_USD = SearchAttributeKey.for_float("CostUsd")
TOKENS = SearchAttributeKey.for_int("Tokens")

DEFAULT_TENANT = "default"
HEARTBEAT_TIMEOUT = timedelta(seconds=4)
"""A killed worker's step is tried again this much later; workers say twice a second that they live."""
RETRY_SOON = timedelta(milliseconds=200)
PATIENCE = RetryPolicy(
    initial_interval=RETRY_SOON, backoff_coefficient=2.0, maximum_interval=timedelta(seconds=5), maximum_attempts=20
)
"""About a minute and a half with an engine that is down or full."""

SUMMARY_LENGTH = 200
RECENT_STEPS = 20


class Execution:
    """One run: who pays, where its steps go, and what they cost so far."""

    def __init__(self, *, app: ToolOwner | None, budget: Budget | None, pool: str, step_timeout: timedelta) -> None:
        info = workflow.info()
        self.scope = RunScope(
            tenant=info.typed_search_attributes.get(TENANT) or DEFAULT_TENANT,
            workflow=info.workflow_type,
            root=info.first_execution_run_id,
            started_at=info.workflow_start_time,
            budget=budget,
        )
        self.receipt = Receipt()
        self._app = app
        self._pool = pool
        self._step_timeout = step_timeout
        self._steps: list[str] = []

    async def generate(
        self,
        transcript: str | None,
        append: Sequence[Message],
        *,
        sampling: Sampling,
        output_schema: dict[str, JsonValue] | None,
        tool_choice: ToolChoice,
        summary: str,
    ) -> GenerateResult:
        """One reply of the model."""
        result = await self._step(
            GENERATE,
            GenerateRequest(
                scope=self.scope,
                transcript=transcript,
                append=tuple(append),
                sampling=sampling,
                output_schema=output_schema,
                tool_choice=tool_choice,
            ),
            GenerateResult,
            task_queue=engine_queue(self._pool),
            timeout=self._step_timeout,
            summary=summary,
        )
        calls = ", ".join(call.name for call in result.tool_calls)
        self._book(f"asked for {calls}" if calls else "replied", result.receipt)
        return result

    async def retrieve(self, collection: str, query: str, k: int) -> RetrieveResult:
        """The best passages of a collection."""
        result = await self._step(
            RETRIEVE,
            RetrieveRequest(scope=self.scope, collection=collection, query=query, k=k),
            RetrieveResult,
            task_queue=RETRIEVAL_QUEUE,
            timeout=timedelta(minutes=2),
            summary=f"{collection}: {query}",
        )
        self._book(f"found {len(result.passages)} passages in {collection}", result.receipt)
        return result

    async def call_tool(self, tool: Tool[..., Any], arguments: str, *, by_reference: bool) -> CallToolResult:
        """One call of a tool, with its arguments as JSON text."""
        try:
            result = await self._step(
                tool.name,
                CallToolRequest(scope=self.scope, arguments=arguments, by_reference=by_reference),
                CallToolResult,
                task_queue=self._queue(tool),
                timeout=tool.timeout,
                summary=arguments,
                retry=RetryPolicy(initial_interval=RETRY_SOON, maximum_attempts=tool.attempts),
            )
        except ActivityError as error:
            if timed_out(cause_of(error)):
                raise ToolTimedOut(tool.name, tool.timeout.total_seconds()) from error
            raise
        self._book(f"called {tool.name}", result.receipt)
        return result

    def _queue(self, tool: Tool[..., Any]) -> str:
        if self._app is None or tool not in self._app.tools:
            app = "this workflow's class" if self._app is None else f"app {self._app.name!r}"
            raise DefinitionError(
                f"tool {tool.name!r}",
                problem=f"{app} doesn't have it, so no worker would run it",
                remedy="Declare it with @app.tool, hand it to Orchestrator(tools=[...]), or set orchestrator_app.",
            )
        return tool.task_queue or tools_queue(self._app.name)

    async def close(self, status: RunStatus, error: str | None) -> None:
        """Ends the run's bill."""
        workflow.upsert_search_attributes([  # pyright: ignore[reportUnknownMemberType]
            COST_USD.value_set(float(self.receipt.cost)),
            TOKENS.value_set(self.receipt.usage.total),
        ])  # fmt: skip
        await workflow.execute_activity(
            CLOSE_RUN,
            CloseRunRequest(scope=self.scope, status=status, error=error),
            task_queue=LEDGER_QUEUE,
            start_to_close_timeout=timedelta(seconds=10),
            retry_policy=RetryPolicy(initial_interval=RETRY_SOON, maximum_interval=timedelta(seconds=5)),
            summary=status,
        )

    async def _step(
        self,
        name: str,
        request: Any,
        result_type: type[R],
        *,
        task_queue: str,
        timeout: timedelta,
        summary: str,
        retry: RetryPolicy = PATIENCE,
    ) -> R:
        try:
            return await workflow.execute_activity(
                name,
                request,
                result_type=result_type,
                task_queue=task_queue,
                start_to_close_timeout=timeout,
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                retry_policy=retry,
                cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                summary=" ".join(summary.split())[:SUMMARY_LENGTH],
            )
        except ActivityError as error:
            cause = cause_of(error)
            if isinstance(cause, CancelledError | asyncio.CancelledError) or timed_out(cause):
                raise
            raise cause from error

    def _book(self, what: str, receipt: Receipt) -> None:
        self.receipt += receipt
        self._steps.append(f"| {what} | {receipt.usage.total:,} | ${receipt.cost:f} |")
        total, recent = self.receipt, self._steps[-RECENT_STEPS:]
        waste = f", of it ${total.waste:f} wasted" if total.waste else ""
        workflow.set_current_details(
            "\n".join([
                f"**${total.cost:f}** for {total.usage.total:,} tokens in {total.steps} steps{waste}",
                "",
                f"| the last {len(recent)} of {len(self._steps)} steps | tokens | cost |",
                "|---|---|---|",
                *recent,
            ])
        )  # fmt: skip
