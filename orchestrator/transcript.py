"""The handle of a conversation in a workflow.

It holds a reference and the messages said since; the conversation itself stays in the transcript store.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar, overload

from pydantic import TypeAdapter, ValidationError
from temporalio import workflow

from orchestrator.ahead import Ahead
from orchestrator.branches import Branch
from orchestrator.compacting import (
    KEEP_LAST,
    SUMMARY_TOKENS,
    Compaction,
    Extent,
    require_keep_last,
    summary_request,
)
from orchestrator.errors import BudgetExceeded, DefinitionError, InvalidInput, OutputInvalid, ToolFailed, UnknownName
from orchestrator.execution import Execution
from orchestrator.found import Passages
from orchestrator.images import Image
from orchestrator.looking_back import OWN_TOOLS, READ_MORE_TOOL, RECALL_TOOL, LookingBack, require_names
from orchestrator.messages import (
    AssistantMessage,
    BlobRef,
    Excerpt,
    Message,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
)
from orchestrator.passages import Passage
from orchestrator.replies import Asked, Reply
from orchestrator.steps import GradeResult, Sampling, ToolChoice
from orchestrator.tool import Tool, problem_of
from orchestrator.turns import Turns
from orchestrator.usage import Receipt
from orchestrator.view import View

__all__ = ["Asked", "Reply", "Transcript"]

SINCE = "read_more"
"""Runs that began a conversation before results were cut replay without."""

T = TypeVar("T")

AnyTool = Tool[..., Any]


class Transcript:
    """A conversation. Made by `ctx.transcript`; it costs nothing until something is generated."""

    def __init__(
        self,
        execution: Execution,
        *,
        system: str,
        passages: Sequence[Passage],
        tools: Sequence[AnyTool],
        view: View,
    ) -> None:
        self._execution = execution
        self._root = system_prompt(system, passages)
        self._tools = tuple(tools)
        self._view = view
        self._own_tools: Sequence[ToolSpec] | None = None
        self._ref: str | None = None
        self._said: list[Message] = []
        self._extent = Extent()
        self._branch: Branch | None = None

    @classmethod
    async def resumed(cls, execution: Execution, ref: str, *, tools: Sequence[AnyTool], view: View) -> "Transcript":
        """A conversation that is taken up again where a reference names it."""
        found = await LookingBack(execution).find(ref)
        given = [tool.name for tool in tools]
        if set(given) != set(found.tools):
            raise DefinitionError(
                "ctx.resume",
                problem=f"the conversation offers the tools {list(found.tools)}, and is given {given}",
                remedy="Give those that it began with: they are part of its cached prefix, and can't change.",
            )
        transcript = cls(execution, system="", passages=(), tools=tools, view=view)
        transcript._own_tools = tuple(tool for tool in OWN_TOOLS if tool.name in found.own)
        transcript._ref = ref
        transcript._extent = Extent(turns=Turns(count=found.turns), tokens=found.tokens, least=found.least)
        return transcript

    @property
    def ref(self) -> str | None:
        """The hash that names the conversation up to the last reply; `None` before the first.

        It outlives the run: `ctx.resume` takes the conversation up again, in the run that goes on for this one, in a
        child, or in any other run of the tenant.
        """
        return self._ref

    @property
    def tools(self) -> Sequence[AnyTool]:
        """What the model may call."""
        return self._tools

    @property
    def unseen(self) -> Sequence[str]:
        """Texts that go with the next prompt and that no engine has seen."""
        texts = [message.content for message in self._said if isinstance(message.content, str)]
        return texts if self._ref is not None else [self._root, *texts]

    def becomes(self, other: "Transcript") -> None:
        """Goes on where another conversation stands."""
        self._ref, self._said, self._extent = other._ref, list(other._said), other._extent
        self._tools, self._own_tools = other._tools, other._own_tools

    async def warm(self) -> Receipt:
        """Has the engine compute what was said so far, so that forks find it in its cache."""
        return await self._execution.warm(self._ref, self._appended())

    def say(self, text: str, *, images: Sequence[Image] = ()) -> None:
        """Adds what the user says; it is sent with the next prompt.

        Args:
            images: put before the text. Of a picture in the transcript store, only its name travels.

        Raises:
            DefinitionError: something among `images` is no `Image`.
        """
        self._said.append(UserMessage.of(text, images))

    def fork(self, branch: Branch | None = None) -> "Transcript":
        """A second conversation that shares everything said so far, and the engine's cache of it.

        Args:
            branch: whose steps its own are; for strategies.
        """
        copy = Transcript.__new__(Transcript)
        copy.__dict__.update(self.__dict__)
        copy._said = list(self._said)
        copy._branch = branch or self._branch
        return copy

    async def generate(
        self,
        prompt: str | None = None,
        *,
        images: Sequence[Image] = (),
        max_tokens: int = 512,
        temperature: float = 0.0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        seed: int | None = None,
        tool_choice: ToolChoice = "auto",
        closes: bool = True,
        cache: timedelta | None = None,
    ) -> Reply:
        """One reply of the model, appended to the conversation. Tools that it calls are not run; `ask` does that.

        Args:
            prompt: what the user says first.
            images: that the user shows with it.
            max_tokens: of the reply.
            closes: whether it may draw on what the budget keeps for the run's answer.
            cache: how old a kept reply may be that is handed out in place of the same call: same tenant, model, prompt,
                sampling and tools. Without it as `@app.workflow(cache=...)` says; `timedelta(0)`: none will do.

        Raises:
            DefinitionError: `cache` is given for a reply that is drawn anew each time.
            BudgetExceeded: the prompt and `max_tokens` don't fit what is left.
            EngineError: the engine refused, or stayed away for too long.
        """
        if prompt is not None or images:
            self.say(prompt or "", images=images)
        sampling = Sampling(max_tokens=max_tokens, temperature=temperature, top_p=top_p, stop=tuple(stop), seed=seed)
        if cache and not sampling.is_repeatable:
            raise DefinitionError(
                "generate(cache=...)",
                problem=f"at temperature {temperature:g}, and without a seed, each reply is drawn anew",
                remedy="Give temperature=0 or a seed, or leave cache out.",
            )
        return await self._generate(sampling, tool_choice=tool_choice, closes=closes, cache=cache)

    async def grade(self, question: str, labels: Sequence[str] = ("Yes", "No")) -> GradeResult:
        """How likely each label is to be the model's answer to a question, in one forward pass.

        The conversation stays as it is.

        Args:
            question: about what was said so far.
            labels: answers whose first tokens differ.

        Raises:
            BudgetExceeded: the prompt doesn't fit what is left.
            EngineError: the engine refused, or stayed away for too long.
        """
        return await self._execution.grade(self._ref, question, labels, append=self._appended())

    async def compact(
        self, *, keep_last: int = KEEP_LAST, instructions: str = "", max_tokens: int = SUMMARY_TOKENS
    ) -> Compaction | None:
        """Has the model sum the older part up, and goes on with the summary in its place; `None` if there is none.

        The conversation as it was is kept under the reference that it had. What goes on is another one: the same
        instructions, passages and tools, the summary, and the last turns, word for word. `recall` finds what was said
        before.

        Args:
            keep_last: turns that stay. While tools are used to answer a question, each reply with its results is one.
            instructions: what else the summary must keep.
            max_tokens: of the summary.

        Raises:
            OutputInvalid: the summary is empty; the conversation stays as it was.
            BudgetExceeded: the summary doesn't fit what is left.
            EngineError: the engine refused, or stayed away for too long.
        """
        require_keep_last(keep_last)
        if any(isinstance(message, ToolMessage) for message in self._said):
            keep_last = max(keep_last, 1)  # the calls that these are the results of
        before = self._ref
        if before is None or self._extent.turns.count <= keep_last:
            return None
        reply = await self._aside(summary_request(keep_last, instructions), max_tokens)
        if not reply.text.strip():
            problem = f"it is empty ({max_tokens=} cut it off)" if reply.finish_reason == "length" else "it is empty"
            raise OutputInvalid("summary", attempts=1, problem=problem, reply=reply.text)
        made = await LookingBack(self._execution).compact(before, summary=reply.result.transcript, keep_last=keep_last)
        self._ref, self._extent = made.transcript, self._extent.compacted(made.turns)
        return Compaction(
            before=before,
            after=made.transcript,
            summary=made.summary,
            complete=reply.finish_reason != "length",
            receipt=reply.receipt + made.receipt,
        )

    async def recall(self, query: str, *, k: int = 3) -> Passages:
        """The `k` passages that fit a query best of what was said before all that the conversation still shows.

        Passages of what it no longer shows, since it was compacted; results of tools are searched whole, however much
        of them was shown. Free.
        """
        if self._ref is not None:
            return await LookingBack(self._execution).recall(self._ref, query, k)
        nothing = Passages()
        nothing.mode, nothing.receipt = "none", Receipt()
        return nothing

    @overload
    async def ask(
        self,
        question: str,
        *,
        images: Sequence[Image] = (),
        tools: Sequence[AnyTool] | None = None,
        tool_choice: ToolChoice = "auto",
        max_steps: int = 10,
        max_tokens: int = 512,
        temperature: float = 0.0,
        seed: int | None = None,
        closes: bool = True,
    ) -> str: ...
    @overload
    async def ask(
        self,
        question: str,
        *,
        images: Sequence[Image] = (),
        output: type[T],
        tools: Sequence[AnyTool] | None = None,
        tool_choice: ToolChoice = "auto",
        max_steps: int = 10,
        max_tokens: int = 512,
        temperature: float = 0.0,
        seed: int | None = None,
        repairs: int = 2,
        closes: bool = True,
    ) -> T: ...
    async def ask(
        self,
        question: str,
        *,
        images: Sequence[Image] = (),
        output: type[Any] = str,
        tools: Sequence[AnyTool] | None = None,
        tool_choice: ToolChoice = "auto",
        max_steps: int = 10,
        max_tokens: int = 512,
        temperature: float = 0.0,
        seed: int | None = None,
        repairs: int = 2,
        closes: bool = True,
    ) -> Any:
        """Asks, runs the tools that the model calls, and returns its answer.

        Args:
            images: that go with the question.
            output: what the answer must be; the engine's decoder is held to its JSON Schema.
            tools: as given to `ctx.transcript`; needed here only where they weren't given there.
            tool_choice: whether the first reply may, must or mustn't call a tool.
            max_steps: replies with tool calls at most; then the model must answer.
            max_tokens: of each reply.
            repairs: how often a reply that breaks `output` is sent back with what is wrong.
            closes: whether the answer may draw on what the budget keeps for the run's own.

        Raises:
            OutputInvalid: the reply still breaks `output`.
            BudgetExceeded: a step doesn't fit what is left.
        """
        self._offer(tools)
        self.say(question, images=images)
        sampling = Sampling(max_tokens=max_tokens, temperature=temperature, seed=seed)
        asked = Asked(
            question=question,
            output=output,
            tool_choice=tool_choice,
            max_steps=max_steps,
            repairs=repairs,
            closes=closes,
        )
        value, _ = await self.answer(asked, sampling)
        return value

    async def answer(self, asked: "Asked", sampling: Sampling) -> tuple[Any, Reply]:
        """The answer to what was said last, and the reply that it stands in; for strategies, which ask themselves."""
        adapter: TypeAdapter[Any] = TypeAdapter(asked.output)
        tool_choice = asked.tool_choice
        if (self._tools or self._own) and tool_choice != "none":
            reply = await self._use_tools(sampling, tool_choice, asked)
            if reply is not None and (asked.output is str or asked.free):
                return reply.text, reply
            if reply is not None and (answer := _parsed(adapter, reply.text)) is not None:
                return answer, reply
            if reply is not None:
                self.say("Give this answer as JSON.")
            elif self._execution.funding.closing:
                self.say(f"The budget is used up. Answer now, with what you have: {asked.question}")
            else:
                self.say(f"Now answer: {asked.question}")
        if asked.output is str or asked.free:
            reply = await self._generate(sampling, tool_choice="none", closes=asked.closes)
            return reply.text, reply
        return await self._structured(adapter, asked, sampling)

    async def _use_tools(self, sampling: Sampling, tool_choice: ToolChoice, asked: "Asked") -> Reply | None:
        """Runs tools until a reply calls none; `None` if the steps, or the budget for more of them, are used up."""
        ahead = Ahead(self._execution, asked.question, self._tools, self._branch)
        try:
            return await self._call_tools(sampling, tool_choice, asked.max_steps, ahead)
        finally:
            await ahead.settle()

    async def _call_tools(
        self, sampling: Sampling, tool_choice: ToolChoice, max_steps: int, ahead: Ahead
    ) -> Reply | None:
        for _ in range(max_steps):
            if self._execution.funding.closing:
                return None
            try:
                step = ahead.begin()
                reply = await self._generate(sampling, tool_choice=tool_choice, closes=False, step=step)
            except BudgetExceeded:
                if self._execution.funding.closing:
                    return None
                raise
            ahead.heard(reply.tool_calls)
            if not reply.tool_calls:
                return reply
            results = await asyncio.gather(*(self._run(call, ahead) for call in reply.tool_calls))
            ahead.read(results, reply.tool_calls)
            self._said.extend(results)
            if self._branch is not None and self._branch.budget_line is not None:
                self.say(self._branch.budget_line())
            tool_choice = "auto"
        return None

    async def _run(self, call: ToolCall, ahead: Ahead) -> ToolMessage:
        """One tool call of the model; what goes wrong with it is the model's to read."""
        try:
            if not call.name:
                raise InvalidInput(
                    "a tool call", "it couldn't be read; write it whole, as JSON with name and arguments"
                )
            content = await self._result(call, ahead)
        except (InvalidInput, ToolFailed, UnknownName) as error:
            content = f"error: {error}"
        return ToolMessage(call_id=call.id, name=call.name, content=content)

    async def _result(self, call: ToolCall, ahead: Ahead) -> str | BlobRef | Excerpt:
        if self._ref is not None and any(tool.name == call.name for tool in self._own):
            return await LookingBack(self._execution).call(call, self._ref, counts=self._branch is None)
        tool = next((tool for tool in self._tools if tool.name == call.name), None)
        if tool is None:
            raise UnknownName("tool", call.name, [tool.name for tool in (*self._tools, *self._own)])
        result = await ahead.result(call)
        if result is None:
            result = await self._execution.call_tool(tool, call.arguments, by_reference=True, branch=self._branch)
        content = result.content or ""
        if isinstance(content, BlobRef) and content.size > self._view.show and READ_MORE_TOOL in self._own:
            return Excerpt(blob=content.blob, size=content.size, shown=self._view.show)
        return content

    async def _structured(self, adapter: TypeAdapter[Any], asked: "Asked", sampling: Sampling) -> tuple[Any, Reply]:
        schema = adapter.json_schema()
        problem, reply = "", None
        for _ in range(asked.repairs + 1):
            reply = await self._generate(sampling, tool_choice="none", output_schema=schema, closes=asked.closes)
            try:
                return adapter.validate_json(reply.text), reply
            except ValidationError as error:
                problem = problem_of(error)
                if reply.finish_reason == "length":
                    problem += f" (max_tokens={sampling.max_tokens} cut it off)"
            self.say(f"That is not valid: {problem}. Answer again.")
        assert reply is not None
        name = getattr(asked.output, "__name__", str(asked.output))
        raise OutputInvalid(name, attempts=asked.repairs + 1, problem=problem, reply=reply.text)

    async def _generate(
        self,
        sampling: Sampling,
        *,
        tool_choice: ToolChoice,
        output_schema: dict[str, Any] | None = None,
        closes: bool = True,
        cache: timedelta | None = None,
        step: str | None = None,
    ) -> Reply:
        if not self._said:
            raise DefinitionError(
                "transcript", problem="there is nothing to reply to", remedy="Call say(...) or pass a prompt."
            )
        await self.compact_if_due()
        result = await self._execution.generate(
            self._ref,
            self._appended(),
            sampling=sampling,
            output_schema=output_schema,
            tool_choice=tool_choice,
            closes=closes,
            summary=_summary(self._said[-1]),
            branch=self._branch,
            cache=cache,
            step=step,
        )
        said = [*self._said, AssistantMessage(content="", tool_calls=result.tool_calls)]
        self._extent = self._extent.after(said, result.tokens)
        self._ref, self._said = result.transcript, []
        return Reply(result)

    async def compact_if_due(self) -> Compaction | None:
        """Compacts the conversation if it has grown as long as `compact_at` says; each reply sees to that by itself.

        What is kept for the run's answer is not spent on it.
        """
        compacting = self._view.compacting
        if compacting is None or self._execution.funding.closing or not self._extent.is_due(compacting):
            return None
        try:
            return await self.compact(
                keep_last=compacting.keep_last,
                instructions=compacting.instructions,
                max_tokens=compacting.max_tokens,
            )
        except BudgetExceeded:
            if not self._execution.funding.closing:
                raise
            return None

    async def _aside(self, prompt: str, max_tokens: int) -> Reply:
        """A reply in a fork that comes to its end with it."""
        fork = self.fork()
        fork._view = replace(self._view, compacting=None)
        fork._said = []
        if self._branch is None:
            return await fork.generate(prompt, max_tokens=max_tokens, tool_choice="none", closes=False)
        fork._branch = replace(self._branch, measure=False, watch=None)
        try:
            return await fork.generate(prompt, max_tokens=max_tokens, tool_choice="none", closes=False)
        finally:
            self._branch.receipt = fork._branch.receipt

    @property
    def _own(self) -> Sequence[ToolSpec]:
        """The tools that the conversation has of its own: part of its prefix, so settled with its first prompt."""
        if self._own_tools is None:
            cuts = any(tool.max_result > self._view.show for tool in self._tools) and workflow.patched(SINCE)
            wanted = ((READ_MORE_TOOL, cuts), (RECALL_TOOL, self._view.recall))
            own = tuple(tool for tool, offered in wanted if offered)
            require_names([tool.spec for tool in self._tools], own)
            self._own_tools = own
        return self._own_tools

    def _appended(self) -> Sequence[Message]:
        if self._ref is not None:
            return [*self._said]
        tools = (*(tool.spec for tool in self._tools), *self._own)
        return [SystemMessage(content=self._root, tools=tools), *self._said]

    def _offer(self, tools: Sequence[AnyTool] | None) -> None:
        if tools is None or tuple(tools) == self._tools:
            return
        if self._ref is not None:
            raise DefinitionError(
                "transcript",
                problem="its tools can't change once something was generated, since they are part of the cached prefix",
                remedy="Give all tools to ctx.transcript(tools=...), or start another transcript.",
            )
        self._tools, self._own_tools = tuple(tools), None


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
    if isinstance(message, UserMessage):
        return message.text
    return json.dumps(message.content)[1:-1] if isinstance(message, SystemMessage) else str(message.content)
