"""Calls made ahead of the model: what a tool's `predict` expects of the next reply, begun while that is written.

Deterministic. Only reads are predicted. A call that the model then asks for is not made again; one that it doesn't ask
for is given up, and what it cost is waste.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast

from pydantic_core import PydanticSerializationError, to_json
from temporalio import workflow

from orchestrator.branches import Branch
from orchestrator.errors import BudgetExceeded, DefinitionError, InvalidInput
from orchestrator.execution import Execution
from orchestrator.messages import ToolCall, ToolMessage
from orchestrator.prediction import Called, Said
from orchestrator.steps import CallToolResult, step_ahead
from orchestrator.tool import Tool

__all__ = ["Ahead"]


@dataclass(frozen=True)
class _Guess:
    tool: Tool[..., Any]
    arguments: str
    """In their canonical form."""
    step: str
    """As the ledger names it."""
    task: asyncio.Task[CallToolResult]

    @property
    def call(self) -> tuple[str, str]:
        return self.tool.name, self.arguments


class Ahead:
    """The guesses of one question: from when it is asked until it is answered."""

    def __init__(
        self, execution: Execution, question: str, tools: Sequence[Tool[..., Any]], branch: Branch | None
    ) -> None:
        self._execution = execution
        self._tools = [tool for tool in tools if tool.predict is not None]
        self._branch = branch
        self._said = Said(question=question)
        self._made: set[tuple[str, str]] = set()
        """Calls that were made or guessed; none is guessed again."""
        self._open: list[_Guess] = []
        self._asked: dict[str, _Guess] = {}
        """Guesses that came true, by the id of the model's call."""
        self._lost: list[_Guess] = []

    def begin(self) -> str | None:
        """Begins the calls that are likely in the next reply; the id for the step that makes that, if there are any.

        Raises:
            DefinitionError: a `predict` raised, or said what can't be arguments.
        """
        calls = [(tool, arguments) for tool in self._tools if (arguments := self._guess(tool)) is not None]
        if not calls:
            return None
        beside = self._execution.next_ahead() if self._branch is None else self._branch.upcoming
        for number, (tool, arguments) in enumerate(calls, 1):
            activity = step_ahead(beside, number)
            task = asyncio.ensure_future(self._execution.call_ahead(tool, arguments, activity))
            guess = _Guess(tool, arguments, f"{workflow.info().run_id}:{activity}", task)
            self._made.add(guess.call)
            self._open.append(guess)
        return beside

    def heard(self, calls: Sequence[ToolCall]) -> None:
        """Takes what the model asked for, and gives up what it didn't ask for."""
        for call in calls:
            for tool in self._tools:
                if tool.name == call.name and (arguments := _canonical(tool, call.arguments)) is not None:
                    self._made.add((tool.name, arguments))
                    self._match(call, arguments)
        self._give_up()

    async def result(self, call: ToolCall) -> CallToolResult | None:
        """What came of the model's call, where it was made ahead; `None` where it is still to be made.

        Raises:
            ToolFailed: it failed, as it would have.
        """
        guess = self._asked.pop(call.id, None)
        if guess is None:
            return None
        try:
            result = await guess.task
        except BudgetExceeded:
            return None
        self._execution.called_ahead(guess.tool, result.receipt, branch=self._branch)
        return result

    def read(self, messages: Sequence[ToolMessage], calls: Sequence[ToolCall]) -> None:
        """What the model reads of its calls."""
        called = [
            Called(
                tool=call.name,
                arguments=call.arguments,
                result=message.content if isinstance(message.content, str) else None,
            )
            for call, message in zip(calls, messages, strict=True)
        ]
        self._said = Said(question=self._said.question, calls=(*self._said.calls, *called))

    async def settle(self) -> None:
        """Gives up what is left, waits until all that was given up has ended, and books it as waste."""
        self._lost += self._asked.values()  # of a question that came to its end before it read them
        self._asked.clear()
        self._give_up()
        if not self._lost:
            return
        lost, self._lost = self._lost, []
        ended = await asyncio.gather(*(guess.task for guess in lost), return_exceptions=True)
        begun = [each for each in zip(lost, ended, strict=True) if not isinstance(each[1], BudgetExceeded)]
        wasted = Decimal(0)
        for guess, result in begun:
            if isinstance(result, CallToolResult):
                self._execution.called_in_vain(guess.tool, result.receipt)
                wasted += result.receipt.cost - result.receipt.waste
        if begun:
            await self._execution.discard([guess.step for guess, _ in begun], wasted)

    def _guess(self, tool: Tool[..., Any]) -> str | None:
        assert tool.predict is not None
        try:
            arguments = cast("object", tool.predict(self._said))
        except Exception as error:
            raise _refused(tool, f"its predict raised {type(error).__name__}: {error}") from error
        if arguments is None:
            return None
        if not isinstance(arguments, Mapping):
            raise _refused(tool, f"its predict returned a {type(arguments).__name__}")
        try:
            canonical = _canonical(tool, to_json(arguments).decode())
        except PydanticSerializationError:
            return None
        if canonical is None or (tool.name, canonical) in self._made:
            return None
        return canonical if self._execution.may_call_ahead(tool) else None

    def _match(self, call: ToolCall, arguments: str) -> None:
        for guess in self._open:
            if guess.call == (call.name, arguments):
                self._open.remove(guess)
                self._asked[call.id] = guess
                return

    def _give_up(self) -> None:
        for guess in self._open:
            guess.task.cancel()
        self._lost += self._open
        self._open = []


def _canonical(tool: Tool[..., Any], arguments: str) -> str | None:
    """Arguments in a form that is equal for equal calls; `None` where they don't fit the tool."""
    try:
        return tool.canonical(arguments)
    except InvalidInput:
        return None


def _refused(tool: Tool[..., Any], problem: str) -> DefinitionError:
    remedy = "Return its arguments by name, or None where no call is likely."
    return DefinitionError(f"tool {tool.name!r}", problem=problem, remedy=remedy)
