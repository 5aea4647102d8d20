"""What a workflow function may do.

Deterministic: every effect is one activity, concurrency is asyncio over ordered lists, time comes from Temporal.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar, cast

from temporalio import workflow

from orchestrator.execution import Execution
from orchestrator.passages import Passage
from orchestrator.steps import RunStatus
from orchestrator.tool import Tool
from orchestrator.transcript import Transcript
from orchestrator.usage import Receipt

__all__ = ["Passages", "RunContext"]

P = ParamSpec("P")
R = TypeVar("R")

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

        Such a class may set `orchestrator_app` (needed to call tools), `orchestrator_budget`, `orchestrator_pool` and
        `orchestrator_step_timeout`.
        """
        context = cls.existing()
        if context is None:
            instance = workflow.instance()
            execution = Execution(
                app=getattr(instance, "orchestrator_app", None),
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
        """What the run's finished steps used and cost so far."""
        return self._execution.receipt

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

    async def close(self, status: RunStatus, error: str | None = None) -> None:
        """Ends the run's bill. Called for you when the workflow ends."""
        await self._execution.close(status, error)
