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

from orchestrator.approving import Approving, granted_at_start
from orchestrator.asking import Asking
from orchestrator.branches import Branch
from orchestrator.budget import Budget
from orchestrator.conversations import Told
from orchestrator.errors import DefinitionError, OrchestratorError, ToolLost, ToolServerFailed, ToolTimedOut
from orchestrator.failures import cause_of, fell_silent, timed_out
from orchestrator.funding import Funding
from orchestrator.messages import Message
from orchestrator.offering import Offering
from orchestrator.paths import inference_path
from orchestrator.rerunning import Rerunning
from orchestrator.reruns import Record, rerun_name
from orchestrator.standing import Standing
from orchestrator.steps import (
    ANSWER,
    CLOSE_RUN,
    DISCARD,
    EXPERIENCE,
    GENERATE,
    GRADE,
    LEDGER_QUEUE,
    RETRIEVAL_QUEUE,
    RETRIEVE,
    TOP_UP,
    WARM,
    AnswerRequest,
    CallServerToolRequest,
    CallToolRequest,
    CallToolResult,
    CloseRunRequest,
    CloseRunResult,
    DiscardRequest,
    DiscardResult,
    ExperienceRequest,
    ExperienceResult,
    GenerateRequest,
    GenerateResult,
    GradeRequest,
    GradeResult,
    Inheritance,
    ListToolsRequest,
    ListToolsResult,
    RetrieveRequest,
    RetrieveResult,
    RunScope,
    RunStatus,
    Sampling,
    ToolChoice,
    TopUp,
    TopUpRequest,
    WarmRequest,
    WarmResult,
    engine_queue,
    tools_queue,
)
from orchestrator.strategies import Experience, Strategy
from orchestrator.tool import Tool
from orchestrator.toolservers import MCPServer, ServerOwner, ServerTool, ToolListing
from orchestrator.usage import Receipt

__all__ = ["COST_USD", "INHERITANCE", "TALLY", "TENANT", "TOKENS", "Execution"]

R = TypeVar("R")
A = TypeVar("A", CallToolResult, RetrieveResult)
L = TypeVar("L", bound=Told)

TENANT = SearchAttributeKey.for_keyword("Tenant")
COST_USD = SearchAttributeKey.for_float("CostUsd")
TOKENS = SearchAttributeKey.for_int("Tokens")

INHERITANCE = "orchestrator-inheritance"
"""Header with what a run was handed by the one that started it, or that it goes on for."""

TALLY = "orchestrator.rerun"
"""The memo in which a rerun says, at its end, what it was answered and what wasn't on the record."""

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
LIST_ATTEMPTS = 3
AHEAD_SHARE = 10
"""A call made ahead costs at most the tenth part of the money that is left: what is wanted must fit beside it."""


class Execution:
    """One run: who pays, where its steps go, and what they cost so far."""

    def __init__(
        self,
        *,
        app: ServerOwner | None,
        version: str,
        budget: Budget | None,
        pool: str,
        step_timeout: timedelta,
        grants: Sequence[str] = (),
        cache: timedelta | None = None,
    ) -> None:
        info = workflow.info()
        inherited = inheritance()
        given = None if inherited is None else inherited.budget
        rerun = inherited and inherited.rerun
        self.scope = RunScope(
            tenant=inherited.tenant if inherited else info.typed_search_attributes.get(TENANT) or DEFAULT_TENANT,
            workflow=rerun_name(info.workflow_type) if rerun else info.workflow_type,
            version=version,
            run=info.first_execution_run_id,
            workflow_id=info.workflow_id,
            started_at=(inherited and inherited.started_at) or info.workflow_start_time,
            budget=given or budget,
            parent=inherited.parent if inherited else None,
            backtest=rerun.backtest if rerun else None,
        )
        self.receipt = (inherited and inherited.receipt) or Receipt()
        self.passed: bool | None = None
        self._path = list(inherited.path) if inherited else []
        self._standing = Standing()
        self.funding = Funding(self.scope, self._top_up, self._standing)
        record = Record(rerun) if rerun else None
        self.asking = Asking(self._standing, self._path, record)
        self._approving = Approving(
            self.asking, granted=grants, handed_on=inherited.grants if inherited else granted_at_start()
        )
        self.budgets_of_children: dict[str, Budget] = {}
        """By workflow id, until the child is started."""
        self._has_children = False
        self.rerunning = Rerunning(record, self.scope, self._answer) if record else None
        """What answers in place of tools, retrieval and people; `None` except in a rerun."""
        listings = {**(rerun.listings if rerun else {}), **(inherited.listings if inherited else {})}
        self.offering = Offering(app, listings, self._list_tools)
        self._app = app
        self._pool = (rerun and rerun.pool) or pool
        self._step_timeout = step_timeout
        self._cache = cache
        self._steps: list[str] = []
        self._thoughts = 0
        self._aheads = 0

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
        branch: Branch | None = None,
        cache: timedelta | None = None,
        step: str | None = None,
    ) -> GenerateResult:
        """One reply of the model.

        Args:
            closes: whether it may be the run's answer, and so draw on what the budget keeps for that.
            branch: that it is part of, and that may be thrown away.
            cache: how old a kept reply may be, where not as the workflow says; zero: none will do.
            step: its id, where calls are made beside it; of a branch, as the branch says.
        """
        if branch is None:
            self._path.append(GENERATE)
        named = iter(() if step is None else (step,))  # taken once: taken again, it has an id of its own
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
                    limit=branch and branch.limit(),
                    measure=branch is not None and branch.measure,
                    watch=branch and branch.watch,
                    cache=self._kept_for(cache, sampling),
                ),
                GenerateResult,
                task_queue=engine_queue((branch and branch.pool) or self._pool),
                timeout=self._step_timeout,
                summary=summary,
                activity_id=branch.next_step() if branch else next(named, None),
            ),
            closes=closes,
        )
        if branch is not None:
            branch.paid(result)
        calls = ", ".join(call.name for call in result.tool_calls)
        self._book(f"asked for {calls}" if calls else "replied", result.receipt)
        return result

    def _kept_for(self, cache: timedelta | None, sampling: Sampling) -> timedelta | None:
        """A rerun asks anew, since what it is for is to know what that costs."""
        lasts = self._cache if cache is None else cache
        return lasts if lasts and sampling.is_repeatable and not self.rerunning else None

    async def warm(self, transcript: str | None, append: Sequence[Message]) -> Receipt:
        """Computes a prompt once, before several branches go on from it."""
        result = await self.funding.spend(
            lambda: self._step(
                WARM,
                WarmRequest(scope=self.scope, transcript=transcript, append=tuple(append)),
                WarmResult,
                task_queue=engine_queue(self._pool),
                timeout=self._step_timeout,
                summary="what the branches share",
            ),
            closes=False,
        )
        self._book("warmed a prompt", result.receipt)
        return result.receipt

    async def grade(
        self,
        transcript: str | None,
        question: str,
        labels: Sequence[str],
        *,
        append: Sequence[Message] = (),
        pool: str | None = None,
    ) -> GradeResult:
        """How likely each label is to follow a question about a conversation."""
        result = await self.funding.spend(
            lambda: self._step(
                GRADE,
                GradeRequest(
                    scope=self.scope,
                    transcript=transcript,
                    append=tuple(append),
                    question=question,
                    labels=tuple(labels),
                ),
                GradeResult,
                task_queue=engine_queue(pool or self._pool),
                timeout=self._step_timeout,
                summary=question,
            ),
            closes=False,
        )
        self._book("graded an answer", result.receipt)
        return result

    async def retrieve(self, collection: str, query: str, k: int) -> RetrieveResult:
        """The best passages of a collection."""
        self._path.append(RETRIEVE)
        if self.rerunning and (answer := await self.rerunning.retrieve(collection, query, k)) is not None:
            return answer
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

    async def call_tool(
        self, tool: Tool[..., Any], arguments: str, *, by_reference: bool, branch: Branch | None = None
    ) -> CallToolResult:
        """One call of a tool, with its arguments as JSON text.

        Args:
            by_reference: whether the model wanted it and reads the result: then the app's approvals hold.
            branch: that it is part of.
        """
        queue = self._queue(tool)
        known = self.rerunning is not None and self.rerunning.knows(tool, arguments)
        if by_reference and self._app is not None and not known:
            await self._approving.approve(tool, arguments, self._app.approvals)
        if branch is None:
            self._path.append(tool.name)
        if self.rerunning and (answer := await self.rerunning.call(tool, arguments, by_reference)) is not None:
            return answer
        request = self._tool_request(tool, arguments, by_reference=by_reference)
        result = await self.funding.spend(lambda: self._call(tool, request, queue))
        self._book(f"called {tool.name}", result.receipt)
        return result

    def may_call_ahead(self, tool: Tool[..., Any]) -> bool:
        """Whether a tool may be called before the model asks for it: nobody is asked, and it costs next to nothing."""
        if self._app is None or self.rerunning is not None or self.funding.closing:
            return False
        left = self.funding.left(self.receipt, None)
        dear = left is not None and left.usd is not None and (tool.price or 0) * AHEAD_SHARE > left.usd
        return not dear and self._approving.allows(tool, self._app.approvals)

    def next_ahead(self) -> str:
        """Names a step beside which calls are made ahead."""
        self._aheads += 1
        return f"ahead{self._aheads}"

    async def call_ahead(self, tool: Tool[..., Any], arguments: str, step: str) -> CallToolResult:
        """A call that the model hasn't asked for; on the run's bill once it is known what became of it.

        Args:
            step: its id.

        Raises:
            BudgetExceeded: it doesn't fit; nothing else follows from that.
        """
        request = self._tool_request(tool, arguments, by_reference=True)
        return await self._call(tool, request, self._queue(tool), activity_id=step)

    def called_ahead(self, tool: Tool[..., Any], receipt: Receipt, *, branch: Branch | None) -> None:
        """The model asked for a call that was made ahead."""
        if branch is None:
            self._path.append(tool.name)
        self._book(f"called {tool.name}, ahead of the model", receipt)

    def called_in_vain(self, tool: Tool[..., Any], receipt: Receipt) -> None:
        """The model didn't ask for a call that was made ahead."""
        self._book(f"called {tool.name}, in vain", receipt)

    async def _call(
        self, tool: Tool[..., Any], request: CallToolRequest, queue: str, *, activity_id: str | None = None
    ) -> CallToolResult:
        arguments = request.arguments
        try:
            return await self._step(
                tool.activity,
                request,
                CallToolResult,
                task_queue=queue,
                timeout=tool.patience,
                summary=f"{tool.listed.name} {arguments}" if isinstance(tool, ServerTool) else arguments,
                retry=RetryPolicy(initial_interval=RETRY_SOON, maximum_attempts=tool.attempts),
                activity_id=activity_id,
            )
        except ActivityError as error:
            if fell_silent(cause_of(error)):
                raise ToolLost(tool.name, HEARTBEAT_TIMEOUT.total_seconds()) from error
            if timed_out(cause_of(error)):
                raise ToolTimedOut(tool.name, tool.timeout.total_seconds(), setting=tool.timeout_setting) from error
            raise

    def _tool_request(self, tool: Tool[..., Any], arguments: str, *, by_reference: bool) -> CallToolRequest:
        if isinstance(tool, ServerTool):
            return CallServerToolRequest(
                scope=self.scope, arguments=arguments, by_reference=by_reference, tool=tool.listed.name, name=tool.name
            )
        fresh = self.rerunning is not None
        return CallToolRequest(scope=self.scope, arguments=arguments, by_reference=by_reference, fresh=fresh)

    async def _answer(self, asked: AnswerRequest, result_type: type[A], summary: str) -> A:
        """A step of a rerun: what the original was told, or `OffRecord`."""
        result = await self.funding.spend(
            lambda: self._step(
                ANSWER,
                asked,
                result_type,
                task_queue=LEDGER_QUEUE,
                timeout=timedelta(seconds=30),
                summary=summary,
            )
        )
        self._book(f"was answered by what {asked.name} said to {asked.of}", result.receipt)
        return result

    async def look_back(
        self, name: str, request: Any, result_type: type[L], *, timeout: timedelta, summary: str, booked: str
    ) -> L:
        """A step on what is stored of the run's conversations."""
        result = await self.funding.spend(
            lambda: self._step(name, request, result_type, task_queue=LEDGER_QUEUE, timeout=timeout, summary=summary)
        )
        self._book(booked, result.receipt)
        return result

    async def _list_tools(self, server: MCPServer) -> ToolListing:
        assert self._app is not None
        queue = server.task_queue or tools_queue(self._app.name)
        self._path.append(server.list_activity)
        try:
            result = await self.funding.spend(
                lambda: self._step(
                    server.list_activity,
                    ListToolsRequest(scope=self.scope),
                    ListToolsResult,
                    task_queue=queue,
                    timeout=server.patience,
                    summary=server.address,
                    retry=RetryPolicy(initial_interval=RETRY_SOON, maximum_attempts=LIST_ATTEMPTS),
                )
            )
        except ActivityError as error:
            if timed_out(cause_of(error)):
                problem = f"no worker said within {server.patience.total_seconds():g} s what tools it has"
                raise ToolServerFailed(server.name, server.address, problem) from error
            raise
        self._book(f"listed {len(result.listing.tools)} tools of {server.name}", result.receipt)
        return result.listing

    def _queue(self, tool: Tool[..., Any]) -> str:
        known = () if self._app is None else self._app.tools
        if isinstance(tool, ServerTool) and self._app is not None and tool.server in self._app.servers:
            known = (tool,)
        if self._app is None or tool not in known:
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

    async def discard(self, steps: Sequence[str], wasted: Decimal) -> Receipt:
        """Books steps that are thrown away as waste; what those of them cost that were cancelled.

        Args:
            steps: as the ledger names them.
            wasted: what those cost that had a result, without what was waste already.
        """
        discarded = await self._on_ledger(
            DISCARD,
            DiscardRequest(scope=self.scope, steps=tuple(steps)),
            DiscardResult | None,
            summary=f"{len(steps)} steps",
        )
        self.receipt = self.receipt.model_copy(update={"waste": self.receipt.waste + wasted})
        if discarded is None:
            return Receipt()
        self.receipt += discarded.cancelled
        return discarded.cancelled

    async def experience(self) -> Sequence[Experience]:
        """What past runs of this workflow say of strategies."""
        told: ExperienceResult = await self._on_ledger(
            EXPERIENCE, ExperienceRequest(scope=self.scope), ExperienceResult, summary=self.scope.workflow
        )
        return told.known

    def next_thought(self) -> int:
        """Numbers the run's thoughts."""
        self._thoughts += 1
        return self._thoughts

    def strategy(self, own: Strategy) -> Strategy:
        """How to think: as the code says, or as a backtest wants to know of."""
        return self.rerunning.strategy(own) if self.rerunning else own

    def passed_through(self, what: str) -> None:
        """Puts a step of several branches on the run's path, in place of theirs."""
        self._path.append(what)

    async def close(self, status: RunStatus, error: str | None) -> None:
        """Ends the run's bill."""
        self.asking.withdraw()
        if self.rerunning:
            workflow.upsert_memo({TALLY: self.rerunning.record.tally})
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
            return Inheritance(
                tenant=self.scope.tenant,
                parent=parent,
                budget=budget,
                grants=tuple(self._approving.handed_on),
                rerun=self.rerunning and self.rerunning.record.for_child(),
            )
        self.asking.withdraw()  # who goes on asks anew
        return Inheritance(
            tenant=self.scope.tenant,
            parent=parent,
            budget=self.scope.budget,
            receipt=self.receipt,
            started_at=self.scope.started_at,
            path=tuple(self._path),
            listings=self.offering.listings,
            grants=tuple(self._approving.handed_on),
            rerun=self.rerunning and self.rerunning.record.going_on(),
        )

    async def _top_up(self, key: str, amount: TopUp) -> None:
        await self._on_ledger(TOP_UP, TopUpRequest(scope=self.scope, key=key, amount=amount), summary=key)

    def _show(self, cost: Decimal, tokens: int) -> None:
        workflow.upsert_search_attributes([  # pyright: ignore[reportUnknownMemberType]
            COST_USD.value_set(float(cost)),
            TOKENS.value_set(tokens),
        ])  # fmt: skip

    async def _on_ledger(self, name: str, request: Any, result_type: Any = None, *, summary: str) -> Any:
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
        activity_id: str | None = None,
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
                activity_id=activity_id,
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
        self._standing.progressed(
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
