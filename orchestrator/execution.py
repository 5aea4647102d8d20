"""How a workflow's steps run: each one activity, its failure our own error again, its receipt on the run's bill.

Deterministic. `RunContext` and `Transcript` are what users see of it.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeVar

from pydantic import JsonValue
from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeKey
from temporalio.exceptions import ActivityError, CancelledError, ChildWorkflowError

from orchestrator.budget import Budget
from orchestrator.errors import DefinitionError, OrchestratorError, ToolTimedOut
from orchestrator.failures import cause_of, timed_out
from orchestrator.funding import Funding
from orchestrator.messages import Message
from orchestrator.paths import inference_path
from orchestrator.steps import (
    CLOSE_RUN,
    DISCARD,
    GENERATE,
    LEDGER_QUEUE,
    RETRIEVAL_QUEUE,
    RETRIEVE,
    TOP_UP,
    CallToolRequest,
    CallToolResult,
    CloseRunRequest,
    CloseRunResult,
    DiscardRequest,
    GenerateRequest,
    GenerateResult,
    Inheritance,
    RetrieveRequest,
    RetrieveResult,
    RunScope,
    RunStatus,
    Sampling,
    ToolChoice,
    TopUp,
    TopUpRequest,
    engine_queue,
    tools_queue,
)
from orchestrator.tool import Tool, ToolOwner
from orchestrator.usage import Receipt

__all__ = ["COST_USD", "INHERITANCE", "TENANT", "TOKENS", "Execution"]

R = TypeVar("R")

TENANT = SearchAttributeKey.for_keyword("Tenant")
COST_USD = SearchAttributeKey.for_float("CostUsd")
TOKENS = SearchAttributeKey.for_int("Tokens")

INHERITANCE = "orchestrator-inheritance"
"""Header with what a run was handed by the one that started it, or that it goes on for."""

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

    def __init__(
        self, *, app: ToolOwner | None, version: str, budget: Budget | None, pool: str, step_timeout: timedelta
    ) -> None:
        info = workflow.info()
        inherited = inheritance()
        given = None if inherited is None else inherited.budget
        self.scope = RunScope(
            tenant=inherited.tenant if inherited else info.typed_search_attributes.get(TENANT) or DEFAULT_TENANT,
            workflow=info.workflow_type,
            version=version,
            run=info.first_execution_run_id,
            workflow_id=info.workflow_id,
            started_at=(inherited and inherited.started_at) or info.workflow_start_time,
            budget=given or budget,
            parent=inherited.parent if inherited else None,
        )
        self.receipt = (inherited and inherited.receipt) or Receipt()
        self.passed: bool | None = None
        self.funding = Funding(self.scope, self._top_up)
        self.budgets_of_children: dict[str, Budget] = {}
        """By workflow id, until the child is started."""
        self._path = list(inherited.path) if inherited else []
        self._has_children = False
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
        closes: bool,
        summary: str,
    ) -> GenerateResult:
        """One reply of the model.

        Args:
            closes: whether it may be the run's answer, and so draw on what the budget keeps for that.
        """
        self._path.append(GENERATE)
        result = await self.funding.spend(
            lambda: self._step(
                GENERATE,
                GenerateRequest(
                    scope=self.scope,
                    transcript=transcript,
                    append=tuple(append),
                    sampling=sampling,
                    output_schema=output_schema,
                    tool_choice=tool_choice,
                    closing=self.funding.closing,
                ),
                GenerateResult,
                task_queue=engine_queue(self._pool),
                timeout=self._step_timeout,
                summary=summary,
            ),
            closes=closes,
        )
        calls = ", ".join(call.name for call in result.tool_calls)
        self._book(f"asked for {calls}" if calls else "replied", result.receipt)
        return result

    async def retrieve(self, collection: str, query: str, k: int) -> RetrieveResult:
        """The best passages of a collection."""
        self._path.append(RETRIEVE)
        result = await self.funding.spend(
            lambda: self._step(
                RETRIEVE,
                RetrieveRequest(scope=self.scope, collection=collection, query=query, k=k),
                RetrieveResult,
                task_queue=RETRIEVAL_QUEUE,
                timeout=timedelta(minutes=2),
                summary=f"{collection}: {query}",
            )
        )
        self._book(f"found {len(result.passages)} passages in {collection}", result.receipt)
        return result

    async def call_tool(self, tool: Tool[..., Any], arguments: str, *, by_reference: bool) -> CallToolResult:
        """One call of a tool, with its arguments as JSON text."""
        queue = self._queue(tool)
        self._path.append(tool.name)
        try:
            result = await self.funding.spend(
                lambda: self._step(
                    tool.name,
                    CallToolRequest(scope=self.scope, arguments=arguments, by_reference=by_reference),
                    CallToolResult,
                    task_queue=queue,
                    timeout=tool.timeout,
                    summary=arguments,
                    retry=RetryPolicy(initial_interval=RETRY_SOON, maximum_attempts=tool.attempts),
                )
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

    async def child(
        self, workflow_type: str, value: Any, result_type: Any, *, queue: str, budget: Budget | None
    ) -> Any:
        """Runs another workflow as a child; what it spends counts against this run's budget too."""
        self._path.append(workflow_type)
        self._has_children = True
        child_id = f"{workflow.info().workflow_id}/{workflow_type}-{workflow.uuid4().hex[:12]}"
        if budget is not None:
            self.budgets_of_children[child_id] = budget
        try:
            return await workflow.execute_child_workflow(
                workflow_type,
                value,
                id=child_id,
                task_queue=queue,
                result_type=result_type,
                cancellation_type=workflow.ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
            )
        except ChildWorkflowError as error:
            cause = cause_of(error)
            if isinstance(cause, OrchestratorError):
                raise cause from error
            raise

    async def discard(self, results: Sequence[GenerateResult]) -> None:
        """Books steps whose results are thrown away as waste."""
        await self._on_ledger(
            DISCARD,
            DiscardRequest(scope=self.scope, steps=tuple(result.step for result in results)),
            summary=f"{len(results)} steps",
        )
        wasted = sum((result.receipt.cost - result.receipt.waste for result in results), Decimal(0))
        self.receipt = self.receipt.model_copy(update={"waste": self.receipt.waste + wasted})

    async def close(self, status: RunStatus, error: str | None) -> None:
        """Ends the run's bill."""
        self._show(self.receipt.cost, self.receipt.usage.total)
        request = CloseRunRequest(
            scope=self.scope, status=status, error=error, path=inference_path(self._path), passed=self.passed
        )
        closed = await self._on_ledger(CLOSE_RUN, request, CloseRunResult, summary=status)
        if closed is not None and self._has_children:
            self._show(closed.cost, closed.tokens)

    def inheritance(self, *, parent: RunScope | None, budget: Budget | None = None) -> Inheritance:
        """What this run hands on: to a child, if `parent` is this run's scope, else to the run that goes on for it."""
        if parent is self.scope:
            return Inheritance(tenant=self.scope.tenant, parent=parent, budget=budget)
        return Inheritance(
            tenant=self.scope.tenant,
            parent=parent,
            budget=self.scope.budget,
            receipt=self.receipt,
            started_at=self.scope.started_at,
            path=tuple(self._path),
        )

    async def _top_up(self, key: str, amount: TopUp) -> None:
        await self._on_ledger(TOP_UP, TopUpRequest(scope=self.scope, key=key, amount=amount), summary=key)

    def _show(self, cost: Decimal, tokens: int) -> None:
        workflow.upsert_search_attributes([  # pyright: ignore[reportUnknownMemberType]
            COST_USD.value_set(float(cost)),
            TOKENS.value_set(tokens),
        ])  # fmt: skip

    async def _on_ledger(
        self, name: str, request: Any, result_type: type[R] | None = None, *, summary: str
    ) -> R | None:
        return await workflow.execute_activity(
            name,
            request,
            result_type=result_type,
            task_queue=LEDGER_QUEUE,
            start_to_close_timeout=timedelta(seconds=10),
            retry_policy=RetryPolicy(initial_interval=RETRY_SOON, maximum_interval=timedelta(seconds=5)),
            summary=summary,
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
        left = self.funding.time_left()
        try:
            return await workflow.execute_activity(
                name,
                request,
                result_type=result_type,
                task_queue=task_queue,
                start_to_close_timeout=timeout if left is None else min(timeout, left),
                schedule_to_close_timeout=left,
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                retry_policy=retry,
                cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                summary=" ".join(summary.split())[:SUMMARY_LENGTH],
            )
        except ActivityError as error:
            cause = cause_of(error)
            if isinstance(cause, CancelledError | asyncio.CancelledError):
                raise
            if left is not None and (refusal := self.funding.out_of_time()) is not None:
                raise refusal from error
            if timed_out(cause):
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


def inheritance() -> Inheritance | None:
    """What the running workflow was handed."""
    payload = workflow.info().headers.get(INHERITANCE)
    return None if payload is None else workflow.payload_converter().from_payload(payload, Inheritance)
