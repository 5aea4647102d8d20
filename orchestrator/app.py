"""The app: the object that workflows and tools are declared on."""

import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from orchestrator.approvals import Approval, Approvals, Effect
from orchestrator.budget import Budget
from orchestrator.context import RunContext
from orchestrator.definition import define
from orchestrator.errors import DefinitionError, UnknownName
from orchestrator.prediction import Predict
from orchestrator.signature import ReasoningWorkflow
from orchestrator.steps import OWN_NAMES, workflows_queue
from orchestrator.tool import MAX_RESULT, Tool, ToolContext
from orchestrator.toolservers import MCPServer

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
        servers: MCP servers whose tools its runs may ask for, with `ctx.tools`.
        approvals: what becomes of the tool calls that the model wants; by default a person is asked about each `write`
            that wasn't granted.
        passthrough: modules that workflow files import at top level and that are safe, or too slow, to import again
            for each run in Temporal's sandbox: those that tools need, such as `httpx`.
    """

    def __init__(
        self,
        name: str,
        *,
        tools: Sequence[Tool[..., Any]] = (),
        servers: Sequence[MCPServer] = (),
        approvals: Approvals | None = None,
        passthrough: Sequence[str] = (),
    ) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,62}", name):
            raise DefinitionError(
                f"app {name!r}", problem="its name doesn't fit", remedy="Use lower-case letters, digits and dashes."
            )
        self.name = name
        self.approvals = Approvals() if approvals is None else approvals
        self.passthrough = tuple(passthrough)
        self._workflows: dict[str, type[ReasoningWorkflow[Any, Any]]] = {}
        self._tools: dict[str, Tool[..., Any]] = {}
        self._servers: dict[str, MCPServer] = {}
        for tool in tools:
            self._add_tool(tool)
        for server in servers:
            self._refuse_twice("tool server", server.name, self._servers)
            self._servers[server.name] = server

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

    @property
    def servers(self) -> Sequence[MCPServer]:
        """The tool servers."""
        return tuple(self._servers.values())

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
        grants: Sequence[str | Tool[..., Any]] = (),
        cache: timedelta | None = None,
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
            grants: tools that its model may call without asking a person, where the app's approvals would ask.
            cache: how old a kept reply of an engine may be that is handed out in place of the same call for the same
                tenant: same model, prompt, sampling and tools. Only for replies that can be had again: drawn at
                temperature 0 or with a seed, and not watched by a strategy.

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
                grants=_names(function.__name__, grants),
                cache=_lasting(function.__name__, cache),
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
        approval: Approval | None = None,
        cache: timedelta | None = None,
        cache_version: str | None = None,
        predict: Predict | None = None,
    ) -> Callable[[Callable[Concatenate[ToolContext, P], Awaitable[R]]], Tool[P, R]]:
        """Makes an `async def f(ctx: ToolContext, ...) -> R` a tool of this app.

        Args:
            effect: what calling it does to the world. A `write` is tried once; hand `ctx.idempotency_key` on.
            timeout: of one attempt.
            max_result: bytes of JSON that it may return.
            price: US dollars for one attempt, whatever becomes of it.
            task_queue: where it runs, if not with the app's other tools.
            approval: what becomes of the model's calls of it, in place of what the app's approvals say of its effect.
            cache: how long its results are kept. A call that asks what was asked within that time, for the same tenant,
                gets the result of then, costs nothing, and says on its receipt what it saved. Only for a `read`.
            cache_version: of what `cache` keeps: a change of it, as of the signature, lets earlier results be.
            predict: which call the model is likely to make next, told by what was said so far. It is made while the
                model still writes; where the model then asks for something else, it is given up, and its cost is on
                the bill as waste. Where the run's budget bounds its money, only if it costs a tenth at most of what is
                left. Pure: it runs in the workflow. Only for a `read`.

        Raises:
            DefinitionError: it isn't async, no schema can be made of its signature, or `cache` and `predict` don't fit
                its effect.
        """

        def decorate(function: Callable[Concatenate[ToolContext, P], Awaitable[R]]) -> Tool[P, R]:
            tool = Tool(
                function,
                effect=effect,
                timeout=timeout,
                max_result=max_result,
                price=price,
                task_queue=task_queue,
                approval=approval,
                cache=cache,
                cache_version=cache_version,
                predict=predict,
            )
            self._add_tool(tool)
            return tool

        return decorate

    def require_tools(self, names: Sequence[str]) -> None:
        """Refuses names that are no tools of this app; what tools its servers have, only they can say.

        Raises:
            UnknownName: one is none.
        """
        for name in names:
            if name not in self._tools and name.partition("_")[0] not in self._servers:
                raise UnknownName("tool", name, self._tools)

    def plugin(self) -> "SimplePlugin":
        """What a Temporal client or worker needs to run this app's workflows.

        Raises:
            UnknownName: a workflow is granted a tool that there isn't.
        """
        for workflow in self.workflows:
            self.require_tools(workflow.orchestrator_grants)
        from orchestrator.plugin import workflow_plugin  # it needs temporalio.worker, which a sandbox must not load

        return workflow_plugin(self.name, self.workflows, self.passthrough)

    def _add_tool(self, tool: Tool[..., Any]) -> None:
        self._refuse_twice("tool", tool.name, self._tools)
        if tool.name in OWN_NAMES:
            raise DefinitionError(
                f"tool {tool.name!r}", problem="an activity of the orchestrator has this name", remedy="Rename it."
            )
        self._tools[tool.name] = tool

    def _refuse_twice(self, kind: str, name: str, known: dict[str, Any]) -> None:
        if name in known:
            raise DefinitionError(f"{kind} {name!r}", problem=f"{self!r} has one already", remedy="Rename one.")


def _names(workflow: str, grants: Sequence[str | Tool[..., Any]]) -> Sequence[str]:
    if isinstance(grants, str):
        raise DefinitionError(
            f"workflow {workflow!r}", problem="its grants are one string", remedy=f"Write grants=[{grants!r}]."
        )
    return [grant if isinstance(grant, str) else grant.name for grant in grants]


def _lasting(workflow: str, cache: timedelta | None) -> timedelta | None:
    if cache is not None and cache <= timedelta(0):
        raise DefinitionError(
            f"workflow {workflow!r}", problem="its cache lasts no time", remedy="Give cache=timedelta(...)."
        )
    return cache


def _version(workflow: str, version: str) -> str:
    if not re.fullmatch(r"[\w.+-]{1,64}", version):
        raise DefinitionError(
            f"workflow {workflow!r}",
            problem=f"its version {version!r} doesn't fit",
            remedy="Use up to 64 letters, digits, dots, dashes and plus signs.",
        )
    return version
