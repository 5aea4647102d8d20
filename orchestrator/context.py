"""What a workflow function may do.

Deterministic: every effect is one activity, concurrency is asyncio over ordered lists, time comes from Temporal.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar, cast

from temporalio import workflow

from orchestrator.budget import Budget
from orchestrator.execution import Execution
from orchestrator.passages import Passage
from orchestrator.signature import ReasoningWorkflow
from orchestrator.steps import Inheritance, RunStatus, workflows_queue
from orchestrator.tool import Tool
from orchestrator.transcript import Reply, Transcript
from orchestrator.usage import Receipt

__all__ = ["Passages", "RunContext"]

P = ParamSpec("P")
R = TypeVar("R")
InT = TypeVar("InT")
OutT = TypeVar("OutT")

_CONTEXT = "__orchestrator_context__"


class Passages(tuple[Passage, ...]):
    """Passages, best first, with how they were found and what that cost."""

    mode: str
    receipt: Receipt


class RunContext:
    """One run of a workflow."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    @classmethod
    def current(cls) -> "RunContext":
        """The context of the running workflow, also in a plain `@workflow.defn` class.

        Such a class may set `orchestrator_app` (needed to call tools), `orchestrator_version`, `orchestrator_budget`,
        `orchestrator_pool` and `orchestrator_step_timeout`.
        """
        context = cls.existing()
        if context is None:
            instance = workflow.instance()
            execution = Execution(
                app=getattr(instance, "orchestrator_app", None),
                version=getattr(instance, "orchestrator_version", "1"),
                budget=getattr(instance, "orchestrator_budget", None),
                pool=getattr(instance, "orchestrator_pool", "default"),
                step_timeout=getattr(instance, "orchestrator_step_timeout", timedelta(minutes=10)),
            )
            context = cls(execution)
            setattr(instance, _CONTEXT, context)
        return context

    @classmethod
    def existing(cls) -> "RunContext | None":
        """The context of the running workflow, if it has asked for one."""
        return cast("RunContext | None", getattr(workflow.instance(), _CONTEXT, None))

    @property
    def tenant(self) -> str:
        """Whose run this is."""
        return self._execution.scope.tenant

    @property
    def receipt(self) -> Receipt:
        """What the run's finished steps used and cost so far; not what the runs did that it started."""
        return self._execution.receipt

    @property
    def closing(self) -> bool:
        """Whether the budget is used up, and the run draws on what was kept for its answer: time to come to an end.

        Only where the budget says `on_exhausted="finish"`.
        """
        return self._execution.funding.closing

    async def retrieve(self, collection: str, query: str, *, k: int = 5) -> Passages:
        """The `k` best passages of a collection.

        Raises:
            UnknownName: the tenant has no such collection.
        """
        result = await self._execution.retrieve(collection, query, k)
        passages = Passages(result.passages)
        passages.mode, passages.receipt = result.mode, result.receipt
        return passages

    def transcript(
        self, *, system: str = "", passages: Sequence[Passage] = (), tools: Sequence[Tool[..., Any]] = ()
    ) -> Transcript:
        """Starts a conversation. Costs nothing until something is generated.

        Args:
            system: instructions.
            passages: put after the instructions, numbered from 1.
            tools: offered in every prompt of the conversation; they are part of its cached prefix.
        """
        return Transcript(self._execution, system=system, passages=passages, tools=tools)

    async def call(self, tool: Tool[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls a tool as a durable step.

        Raises:
            InvalidInput: the arguments don't fit.
            ToolFailed: it raised, hung or returned too much, in every attempt that its effect allows.
        """
        result = await self._execution.call_tool(tool, tool.bind(*args, **kwargs), by_reference=False)
        return tool.result.validate_python(result.value)

    async def child(
        self, child: type[ReasoningWorkflow[InT, OutT]], value: InT, *, budget: Budget | None = None
    ) -> OutT:
        """Runs another workflow as a child; what it spends counts against this run's budget as well as its own.

        Args:
            budget: what it may spend, in place of what its definition says.

        Raises:
            OrchestratorError: what ended the child, `BudgetExceeded` among them.
            temporalio.exceptions.ChildWorkflowError: it ended by anything else.
        """
        result = await self._execution.child(
            child.signature.name,
            value,
            child.signature.returns,
            queue=workflows_queue(child.orchestrator_app.name),
            budget=budget,
        )
        return cast("OutT", result)

    async def discard(self, *replies: Reply) -> None:
        """Says that replies lost: what they cost stays on the bill, as waste."""
        await self._execution.discard([reply.result for reply in replies])

    def judge(self, correct: bool) -> None:
        """Says whether the run's result is correct, so that reports can say what a correct one costs.

        Called for you where `@app.workflow(check=...)` has a check.
        """
        self._execution.passed = correct

    def bequest(self, *, child: str | None) -> Inheritance:
        """What the run hands to a child of this workflow id, or, without one, to the run that goes on for it."""
        execution = self._execution
        if child is None:
            return execution.inheritance(parent=execution.scope.parent)
        return execution.inheritance(parent=execution.scope, budget=execution.budgets_of_children.pop(child, None))

    async def close(self, status: RunStatus, error: str | None = None) -> None:
        """Ends the run's bill. Called for you when the workflow ends."""
        await self._execution.close(status, error)
