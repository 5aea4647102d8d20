"""The handle of a conversation in a workflow.

It holds a reference and the messages said since; the conversation itself stays in the transcript store.
"""

import asyncio
import json
from collections.abc import Sequence
from typing import Any, TypeVar, overload

from pydantic import TypeAdapter, ValidationError

from orchestrator.errors import BudgetExceeded, DefinitionError, InvalidInput, OutputInvalid, ToolFailed, UnknownName
from orchestrator.execution import Execution
from orchestrator.messages import Message, SystemMessage, ToolCall, ToolMessage, UserMessage
from orchestrator.passages import Passage
from orchestrator.steps import FinishReason, GenerateResult, Sampling, ToolChoice
from orchestrator.tool import Tool, problem_of
from orchestrator.usage import Receipt

__all__ = ["Reply", "Transcript"]

T = TypeVar("T")

AnyTool = Tool[..., Any]


class Reply:
    """What the model said, and what that step cost."""

    def __init__(self, result: GenerateResult) -> None:
        self.result = result
        self.text: str = result.text
        self.tool_calls: Sequence[ToolCall] = result.tool_calls
        self.finish_reason: FinishReason = result.finish_reason
        """`length` where `max_tokens` cut the reply off."""
        self.exact_prefix: bool = result.exact_prefix
        """Whether the prompt continued the engine's own tokens, so that its cache could serve them."""
        self.server: str = result.server
        self.receipt: Receipt = result.receipt

    def __repr__(self) -> str:
        return f"Reply({self.text!r}, tool_calls={self.tool_calls!r}, finish_reason={self.finish_reason!r})"


class Transcript:
    """A conversation. Made by `ctx.transcript`; it costs nothing until something is generated."""

    def __init__(
        self,
        execution: Execution,
        *,
        system: str,
        passages: Sequence[Passage],
        tools: Sequence[AnyTool],
    ) -> None:
        self._execution = execution
        self._root = system_prompt(system, passages)
        self._tools = tuple(tools)
        self._ref: str | None = None
        self._said: list[Message] = []

    @property
    def ref(self) -> str | None:
        """The hash that names the conversation up to the last reply; `None` before the first."""
        return self._ref

    def say(self, text: str) -> None:
        """Adds what the user says; it is sent with the next prompt."""
        self._said.append(UserMessage(content=text))

    def fork(self) -> "Transcript":
        """A second conversation that shares everything said so far, and the engine's cache of it."""
        copy = Transcript.__new__(Transcript)
        copy.__dict__.update(self.__dict__)
        copy._said = list(self._said)
        return copy

    async def generate(
        self,
        prompt: str | None = None,
        *,
        max_tokens: int = 512,
        temperature: float = 0.0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        seed: int | None = None,
        tool_choice: ToolChoice = "auto",
    ) -> Reply:
        """One reply of the model, appended to the conversation. Tools that it calls are not run; `ask` does that.

        Raises:
            BudgetExceeded: the prompt and `max_tokens` don't fit what is left.
            EngineError: the engine refused, or stayed away for too long.
        """
        if prompt is not None:
            self.say(prompt)
        sampling = Sampling(max_tokens=max_tokens, temperature=temperature, top_p=top_p, stop=tuple(stop), seed=seed)
        return await self._generate(sampling, tool_choice=tool_choice)

    @overload
    async def ask(
        self,
        question: str,
        *,
        tools: Sequence[AnyTool] | None = None,
        tool_choice: ToolChoice = "auto",
        max_steps: int = 10,
        max_tokens: int = 512,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> str: ...
    @overload
    async def ask(
        self,
        question: str,
        *,
        output: type[T],
        tools: Sequence[AnyTool] | None = None,
        tool_choice: ToolChoice = "auto",
        max_steps: int = 10,
        max_tokens: int = 512,
        temperature: float = 0.0,
        seed: int | None = None,
        repairs: int = 2,
    ) -> T: ...
    async def ask(
        self,
        question: str,
        *,
        output: type[Any] = str,
        tools: Sequence[AnyTool] | None = None,
        tool_choice: ToolChoice = "auto",
        max_steps: int = 10,
        max_tokens: int = 512,
        temperature: float = 0.0,
        seed: int | None = None,
        repairs: int = 2,
    ) -> Any:
        """Asks, runs the tools that the model calls, and returns its answer.

        Args:
            output: what the answer must be; the engine's decoder is held to its JSON Schema.
            tools: as given to `ctx.transcript`; needed here only where they weren't given there.
            tool_choice: whether the first reply may, must or mustn't call a tool.
            max_steps: replies with tool calls at most; then the model must answer.
            max_tokens: of each reply.
            repairs: how often a reply that breaks `output` is sent back with what is wrong.

        Raises:
            OutputInvalid: the reply still breaks `output`.
            BudgetExceeded: a step doesn't fit what is left.
        """
        self._offer(tools)
        self.say(question)
        sampling = Sampling(max_tokens=max_tokens, temperature=temperature, seed=seed)
        adapter: TypeAdapter[Any] = TypeAdapter(output)
        if self._tools and tool_choice != "none":
            reply = await self._use_tools(sampling, tool_choice, max_steps)
            if reply is not None and output is str:
                return reply.text
            if reply is not None and (answer := _parsed(adapter, reply.text)) is not None:
                return answer
            if reply is not None:
                self.say("Give this answer as JSON.")
            elif self._execution.funding.closing:
                self.say(f"The budget is used up. Answer now, with what you have: {question}")
            else:
                self.say(f"Now answer: {question}")
        if output is str:
            return (await self._generate(sampling, tool_choice="none")).text
        return await self._structured(adapter, getattr(output, "__name__", str(output)), sampling, repairs)

    async def _use_tools(self, sampling: Sampling, tool_choice: ToolChoice, max_steps: int) -> Reply | None:
        """Runs tools until a reply calls none; `None` if the steps, or the budget for more of them, are used up."""
        for _ in range(max_steps):
            if self._execution.funding.closing:
                return None
            try:
                reply = await self._generate(sampling, tool_choice=tool_choice, closes=False)
            except BudgetExceeded:
                if self._execution.funding.closing:
                    return None
                raise
            if not reply.tool_calls:
                return reply
            self._said.extend(await asyncio.gather(*(self._run(call) for call in reply.tool_calls)))
            tool_choice = "auto"
        return None

    async def _run(self, call: ToolCall) -> ToolMessage:
        """One tool call of the model; what goes wrong with it is the model's to read."""
        try:
            if not call.name:
                raise InvalidInput(
                    "a tool call", "it couldn't be read; write it whole, as JSON with name and arguments"
                )
            tool = next((tool for tool in self._tools if tool.name == call.name), None)
            if tool is None:
                raise UnknownName("tool", call.name, [tool.name for tool in self._tools])
            result = await self._execution.call_tool(tool, call.arguments, by_reference=True)
            content = result.content or ""
        except (InvalidInput, ToolFailed, UnknownName) as error:
            content = f"error: {error}"
        return ToolMessage(call_id=call.id, name=call.name, content=content)

    async def _structured(self, adapter: TypeAdapter[Any], name: str, sampling: Sampling, repairs: int) -> Any:
        schema = adapter.json_schema()
        problem, reply = "", None
        for _ in range(repairs + 1):
            reply = await self._generate(sampling, tool_choice="none", output_schema=schema)
            try:
                return adapter.validate_json(reply.text)
            except ValidationError as error:
                problem = problem_of(error)
                if reply.finish_reason == "length":
                    problem += f" (max_tokens={sampling.max_tokens} cut it off)"
            self.say(f"That is not valid: {problem}. Answer again.")
        assert reply is not None
        raise OutputInvalid(name, attempts=repairs + 1, problem=problem, reply=reply.text)

    async def _generate(
        self,
        sampling: Sampling,
        *,
        tool_choice: ToolChoice,
        output_schema: dict[str, Any] | None = None,
        closes: bool = True,
    ) -> Reply:
        if not self._said:
            raise DefinitionError(
                "transcript", problem="there is nothing to reply to", remedy="Call say(...) or pass a prompt."
            )
        append: list[Message] = [*self._said]
        if self._ref is None:
            append.insert(0, SystemMessage(content=self._root, tools=tuple(tool.spec for tool in self._tools)))
        result = await self._execution.generate(
            self._ref,
            append,
            sampling=sampling,
            output_schema=output_schema,
            tool_choice=tool_choice,
            closes=closes,
            summary=_summary(self._said[-1]),
        )
        self._ref, self._said = result.transcript, []
        return Reply(result)

    def _offer(self, tools: Sequence[AnyTool] | None) -> None:
        if tools is None or tuple(tools) == self._tools:
            return
        if self._ref is not None:
            raise DefinitionError(
                "transcript",
                problem="its tools can't change once something was generated, since they are part of the cached prefix",
                remedy="Give all tools to ctx.transcript(tools=...), or start another transcript.",
            )
        self._tools = tuple(tools)


def system_prompt(system: str, passages: Sequence[Passage]) -> str:
    """Instructions and numbered passages, as the model reads them."""
    numbered = [f"[{number}] {passage.document}\n{passage.text}" for number, passage in enumerate(passages, 1)]
    return "\n\n".join(part for part in (system, *numbered) if part)


def _parsed(adapter: TypeAdapter[Any], text: str) -> Any | None:
    try:
        return adapter.validate_json(text)
    except ValidationError:
        return None


def _summary(message: Message) -> str:
    if isinstance(message, ToolMessage):
        return f"after {message.name}"
    return json.dumps(message.content)[1:-1] if isinstance(message, SystemMessage) else str(message.content)
