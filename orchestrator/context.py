"""What a workflow function may do.

Deterministic: every effect is one activity, concurrency is asyncio over ordered lists, time comes from Temporal.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, ParamSpec, TypeVar, cast, overload

from temporalio import workflow

from orchestrator.asking import Expected
from orchestrator.budget import Allowance, Budget
from orchestrator.compacting import Compacting
from orchestrator.errors import DefinitionError, HumanTimedOut
from orchestrator.execution import Execution
from orchestrator.found import Passages
from orchestrator.judging import Judge
from orchestrator.mapping import in_parallel
from orchestrator.passages import Passage
from orchestrator.signature import ReasoningWorkflow
from orchestrator.steps import Inheritance, RunStatus, Sampling, workflows_queue
from orchestrator.strategies import Strategy
from orchestrator.thinking import Task, Thinking, Thought
from orchestrator.tool import Tool
from orchestrator.toolservers import ServerTools
from orchestrator.transcript import Reply, Transcript
from orchestrator.usage import Receipt
from orchestrator.view import SHOW, View

__all__ = ["Passages", "RunContext"]

P = ParamSpec("P")
R = TypeVar("R")
InT = TypeVar("InT")
OutT = TypeVar("OutT")
T = TypeVar("T")
D = TypeVar("D")

_CONTEXT = "__orchestrator_context__"


class RunContext:
    """One run of a workflow."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    @classmethod
    def current(cls) -> "RunContext":
        """The context of the running workflow, also in a plain `@workflow.defn` class.

        Such a class may set `orchestrator_app` (needed to call tools), `orchestrator_version`, `orchestrator_budget`,
        `orchestrator_pool`, `orchestrator_step_timeout`, `orchestrator_grants` and `orchestrator_cache`.
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
                grants=getattr(instance, "orchestrator_grants", ()),
                cache=getattr(instance, "orchestrator_cache", None),
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
        self,
        *,
        system: str = "",
        passages: Sequence[Passage] = (),
        tools: Sequence[Tool[..., Any]] = (),
        show: int = SHOW,
        compact_at: int | Compacting | None = None,
        recall: bool = False,
    ) -> Transcript:
        """Starts a conversation. Costs nothing until something is generated.

        Args:
            system: instructions.
            passages: put after the instructions, numbered from 1.
            tools: offered in every prompt of the conversation; they are part of its cached prefix.
            show: characters of a tool's result that the model sees at once. The whole of a longer one is kept, up to
                the tool's own `max_result`, and the model reads on in it with a tool `read_more`, which it is offered
                where a tool may return more than this.
            compact_at: tokens of the conversation from which on it is compacted by itself, before its next reply; a
                `Compacting` says how. See `Transcript.compact`.
            recall: whether the model is offered a tool `recall`, which searches what is no longer shown.

        Raises:
            DefinitionError: `show` or `compact_at` is too small.
        """
        view = View(show=show, recall=recall, compacting=_compacting(compact_at))
        return Transcript(self._execution, system=system, passages=passages, tools=tools, view=view)

    async def resume(
        self,
        ref: str,
        *,
        tools: Sequence[Tool[..., Any]] = (),
        show: int = SHOW,
        compact_at: int | Compacting | None = None,
    ) -> Transcript:
        """Takes a conversation of the tenant up again, exactly where it stood: its next prompt begins with its tokens.

        Its instructions and passages are those that it began with, and so is whether it has `read_more` and `recall`.
        What was said after its last reply isn't in it: say it again.

        Args:
            ref: `Transcript.ref` of the conversation, of this run or of any other one.
            tools: those that it began with.
            show: as in `transcript`.
            compact_at: as in `transcript`.

        Raises:
            UnknownName: the tenant has no such conversation.
            DefinitionError: its tools are others.
        """
        view = View(show=show, compacting=_compacting(compact_at))
        return await Transcript.resumed(self._execution, ref, tools=tools, view=view)

    @overload
    async def think(
        self,
        question: str,
        *,
        strategy: Strategy,
        judge: Judge | None = None,
        transcript: Transcript | None = None,
        key: Callable[[str], str] | None = None,
        budget: Allowance | None = None,
        max_tokens: int = 512,
        temperature: float = 0.7,
        seed: int | None = None,
        max_steps: int = 10,
    ) -> Thought[str]: ...
    @overload
    async def think(
        self,
        question: str,
        *,
        strategy: Strategy,
        output: type[T],
        extract: Callable[[str], T | None] | None = None,
        key: Callable[[T], str] | None = None,
        judge: Judge | None = None,
        transcript: Transcript | None = None,
        budget: Allowance | None = None,
        max_tokens: int = 512,
        temperature: float = 0.7,
        seed: int | None = None,
        max_steps: int = 10,
    ) -> Thought[T]: ...
    async def think(
        self,
        question: str,
        *,
        strategy: Strategy,
        output: Any = str,
        extract: Callable[[str], Any] | None = None,
        key: Callable[[Any], str] | None = None,
        judge: Judge | None = None,
        transcript: Transcript | None = None,
        budget: Allowance | None = None,
        max_tokens: int = 512,
        temperature: float = 0.7,
        seed: int | None = None,
        max_steps: int = 10,
    ) -> Any:
        """Thinks about a question by a strategy: several drafts, judged or counted, of which the best is the answer.

        Drafts are forks of one conversation. Those that lose are aborted at once, and what they cost is on the bill as
        waste. The conversation goes on from the answer.

        Args:
            strategy: how the answer is come by, such as `Vote(at_most=8)`.
            output: what the answer must be. Without `extract`, the engine's decoder is held to its JSON Schema.
            extract: reads the answer out of free text, so that the model may reason before it; `None` if there is none.
            key: equal answers have equal keys; by default those with equal JSON.
            judge: says how good an answer is; see `orchestrator.judging`.
            transcript: the conversation that is gone on with, its tools included; without it a new one.
            budget: what the thought may spend, within the run's own budget.
            max_tokens: of each reply.
            temperature: of drafts whose strategy doesn't say; at 0 they would all be alike.
            seed: of the first draft; the others count on from it.
            max_steps: replies with tool calls, in each draft.

        Raises:
            DefinitionError: the strategy doesn't fit the output, the judge or the tools.
            NoAnswer: no draft came to an answer.
            BudgetExceeded: there is no answer, and no room for one.
            JudgeFailed: the judge raised, or said what is no verdict.
        """
        task = Task[Any](
            question=question,
            strategy=self._execution.strategy(strategy),
            output=output,
            extract=extract,
            key=key,
            judge=judge,
            budget=budget,
            sampling=Sampling(max_tokens=max_tokens, temperature=temperature, seed=seed),
            max_steps=max_steps,
        )
        return await Thinking(self._execution, transcript or self.transcript(), task).think()

    async def call(self, tool: Tool[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls a tool as a durable step.

        Raises:
            InvalidInput: the arguments don't fit.
            ToolFailed: it raised, hung or returned too much, in every attempt that its effect allows.
        """
        result = await self._execution.call_tool(tool, tool.bind(*args, **kwargs), by_reference=False)
        return tool.result.validate_python(result.value)

    async def tools(self, server: str) -> ServerTools:
        """The tools of one of the app's servers, to be offered to a model, or called.

        The server is asked once in a run; what it answered holds until the run's end, whatever becomes of the server.

        Raises:
            UnknownName: the app has no such server.
            ToolServerFailed: it can't be started or reached.
            ToolServerUnusable: what it has isn't what the app says.
        """
        return await self._execution.offering.tools(server)

    @overload
    async def ask_human(
        self,
        question: str,
        *,
        choices: Sequence[str] | None = None,
        to: str | None = None,
        timeout: timedelta | None = None,
    ) -> str: ...
    @overload
    async def ask_human(
        self,
        question: str,
        *,
        choices: Sequence[str] | None = None,
        to: str | None = None,
        timeout: timedelta,
        default: D,
    ) -> str | D: ...
    @overload
    async def ask_human(
        self,
        question: str,
        *,
        output: type[T],
        choices: Sequence[T] | None = None,
        to: str | None = None,
        timeout: timedelta | None = None,
    ) -> T: ...
    @overload
    async def ask_human(
        self,
        question: str,
        *,
        output: type[T],
        choices: Sequence[T] | None = None,
        to: str | None = None,
        timeout: timedelta,
        default: D,
    ) -> T | D: ...
    @overload
    async def ask_human(
        self,
        question: str,
        *,
        output: object,
        choices: Sequence[object] | None = None,
        to: str | None = None,
        timeout: timedelta | None = None,
        default: object = ...,
    ) -> Any: ...
    async def ask_human(
        self,
        question: str,
        *,
        output: Any = str,
        choices: Sequence[Any] | None = None,
        to: str | None = None,
        timeout: timedelta | None = None,
        default: Any = ...,
    ) -> Any:
        """Asks a person, and waits: durably, without a worker, for as long as it takes, at no cost.

        Questions of parallel branches stand open side by side. Each can be answered over REST, on the command line
        (`orchestrator questions`, `orchestrator reply`), or by Temporal's update `answer_question` or signal
        `answer_human`. The first answer that fits counts. One that doesn't fit is refused where it is given, and the
        question stays open; so is one that comes too late.

        While a question is open, the time of the budget's `wall` stands still, as while the run waits for a top-up:
        how long people take says nothing about the run. `timeout` bounds it.

        Args:
            question: what the person reads.
            output: what the answer must be: `str`, `bool`, a `Literal`, a pydantic model, or whatever else a JSON
                Schema can be made of.
            choices: the answers there are; `None` where any that fits `output` will do.
            to: who should answer: a label that those who look for questions can go by. Temporal keeps it in plain text.
            timeout: how long the question stands open.
            default: what is returned after that; may be `None`, or anything that tells it from an answer.

        Raises:
            DefinitionError: the question can't be asked as it is written.
            HumanTimedOut: nobody answered in time, and there is no default.
        """
        expected = Expected(output, choices)
        if default is not ... and timeout is None:
            raise DefinitionError(
                "ask_human", problem="its default would never be used", remedy="Give timeout=timedelta(...) with it."
            )
        asking = self._execution.asking
        await asking.room()
        try:
            return await asking.ask(question, expected, to=to, timeout=timeout)
        except HumanTimedOut:
            if default is ...:
                raise
            return default

    async def map(
        self, function: Callable[[InT], Awaitable[OutT]], items: Sequence[InT], *, parallel: int = 8
    ) -> Sequence[OutT]:
        """The results of a function of the workflow for many items, in their order.

        Where one of them fails, those that run are cancelled, and its error is raised. For very many, or long, items,
        hand the rest on by `workflow.continue_as_new` now and then.

        Args:
            parallel: how many run at a time, at most.

        Raises:
            DefinitionError: `parallel` isn't positive.
        """
        if parallel < 1:
            raise DefinitionError("ctx.map", problem=f"parallel is {parallel}", remedy="Give 1 or more.")
        return await in_parallel(function, items, parallel)

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
        wasted = sum((reply.receipt.cost - reply.receipt.waste for reply in replies), Decimal(0))
        await self._execution.discard([reply.result.step for reply in replies], wasted)

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


def _compacting(at: int | Compacting | None) -> Compacting | None:
    return Compacting(at) if isinstance(at, int) else at
