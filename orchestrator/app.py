"""The app: the object that workflows and tools are declared on."""

import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from orchestrator.budget import Budget
from orchestrator.context import RunContext
from orchestrator.definition import define
from orchestrator.errors import DefinitionError, UnknownName
from orchestrator.signature import ReasoningWorkflow
from orchestrator.steps import CLOSE_RUN, DISCARD, GENERATE, RETRIEVE, TOP_UP, workflows_queue
from orchestrator.tool import MAX_RESULT, Effect, Tool, ToolContext

if TYPE_CHECKING:
    from temporalio.plugin import SimplePlugin

__all__ = ["Orchestrator"]

P = ParamSpec("P")
R = TypeVar("R")
InT = TypeVar("InT")
OutT = TypeVar("OutT")


class Orchestrator:
    """An app: workflows and tools under one name.

    Args:
        name: lower-case letters, digits and dashes; its task queues are named after it.
        tools: tools declared elsewhere that this app's workers run.
        passthrough: modules that workflow files import at top level and that are safe, or too slow, to import again
            for each run in Temporal's sandbox: those that tools need, such as `httpx`.
    """

    def __init__(self, name: str, *, tools: Sequence[Tool[..., Any]] = (), passthrough: Sequence[str] = ()) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,62}", name):
            raise DefinitionError(
                f"app {name!r}", problem="its name doesn't fit", remedy="Use lower-case letters, digits and dashes."
            )
        self.name = name
        self.passthrough = tuple(passthrough)
        self._workflows: dict[str, type[ReasoningWorkflow[Any, Any]]] = {}
        self._tools: dict[str, Tool[..., Any]] = {}
        for tool in tools:
            self._add_tool(tool)

    def __repr__(self) -> str:
        return f"Orchestrator({self.name!r})"

    @property
    def task_queue(self) -> str:
        """Where the app's workflows run."""
        return workflows_queue(self.name)

    @property
    def workflows(self) -> Sequence[type[ReasoningWorkflow[Any, Any]]]:
        """The workflows declared so far."""
        return tuple(self._workflows.values())

    @property
    def tools(self) -> Sequence[Tool[..., Any]]:
        """The tools declared so far, and those handed in."""
        return tuple(self._tools.values())

    def find_workflow(self, name: str) -> type[ReasoningWorkflow[Any, Any]]:
        """One workflow.

        Raises:
            UnknownName: there is none of that name.
        """
        if name not in self._workflows:
            raise UnknownName("workflow", name, self._workflows)
        return self._workflows[name]

    def workflow(
        self,
        *,
        version: str = "1",
        budget: Budget | None = None,
        pool: str = "default",
        step_timeout: timedelta = timedelta(minutes=10),
        check: Callable[[Any, Any], bool] | None = None,
    ) -> Callable[[Callable[[RunContext, InT], Awaitable[OutT]]], type[ReasoningWorkflow[InT, OutT]]]:
        """Makes a module-level `async def f(ctx: RunContext, value: In) -> Out` a workflow of this app.

        What stands in its place is a Temporal workflow definition: start it with `client.start_workflow(f.run, ...)`,
        run it in any worker with `app.plugin()`.

        Args:
            version: of the workflow, for reports that compare what versions cost.
            budget: what one run may spend, and what happens when that is used up.
            pool: the engines that think for it.
            step_timeout: the longest that one engine call may take.
            check: whether a result is correct for an input, so that reports can say what a correct one costs. Pure:
                it runs in the workflow. A workflow that learns it otherwise calls `ctx.judge`.

        Raises:
            DefinitionError: see `orchestrator.definition.define`.
        """

        def decorate(function: Callable[[RunContext, InT], Awaitable[OutT]]) -> type[ReasoningWorkflow[InT, OutT]]:
            defined = define(
                function,
                app=self,
                version=_version(function.__name__, version),
                budget=budget,
                pool=pool,
                step_timeout=step_timeout,
                check=check,
            )
            self._refuse_twice("workflow", defined.signature.name, self._workflows)
            self._workflows[defined.signature.name] = defined
            return defined

        return decorate

    def tool(
        self,
        *,
        effect: Effect,
        timeout: timedelta = timedelta(seconds=30),
        max_result: int = MAX_RESULT,
        price: Decimal | None = None,
        task_queue: str | None = None,
    ) -> Callable[[Callable[Concatenate[ToolContext, P], Awaitable[R]]], Tool[P, R]]:
        """Makes an `async def f(ctx: ToolContext, ...) -> R` a tool of this app.

        Args:
            effect: what calling it does to the world. A `write` is tried once; hand `ctx.idempotency_key` on.
            timeout: of one attempt.
            max_result: bytes of JSON that it may return.
            price: US dollars for one attempt, whatever becomes of it.
            task_queue: where it runs, if not with the app's other tools.

        Raises:
            DefinitionError: it isn't async, or no schema can be made of its signature.
        """

        def decorate(function: Callable[Concatenate[ToolContext, P], Awaitable[R]]) -> Tool[P, R]:
            tool = Tool(
                function, effect=effect, timeout=timeout, max_result=max_result, price=price, task_queue=task_queue
            )
            self._add_tool(tool)
            return tool

        return decorate

    def plugin(self) -> "SimplePlugin":
        """What a Temporal client or worker needs to run this app's workflows."""
        from orchestrator.plugin import workflow_plugin  # it needs temporalio.worker, which a sandbox must not load

        return workflow_plugin(self.name, self.workflows, self.passthrough)

    def _add_tool(self, tool: Tool[..., Any]) -> None:
        self._refuse_twice("tool", tool.name, self._tools)
        if tool.name in (GENERATE, RETRIEVE, CLOSE_RUN, DISCARD, TOP_UP):
            raise DefinitionError(
                f"tool {tool.name!r}", problem="an activity of the orchestrator has this name", remedy="Rename it."
            )
        self._tools[tool.name] = tool

    def _refuse_twice(self, kind: str, name: str, known: dict[str, Any]) -> None:
        if name in known:
            raise DefinitionError(f"{kind} {name!r}", problem=f"{self!r} has one already", remedy="Rename one.")


def _version(workflow: str, version: str) -> str:
    if not re.fullmatch(r"[\w.+-]{1,64}", version):
        raise DefinitionError(
            f"workflow {workflow!r}",
            problem=f"its version {version!r} doesn't fit",
            remedy="Use up to 64 letters, digits, dots, dashes and plus signs.",
        )
    return version
