"""The tools that every conversation may have of its own: to read on in a result that was cut, and to recall.

Deterministic. They show a model what it was shown before, and nothing else: neither a person's approval nor money is
asked for them.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orchestrator.conversations import (
    COMPACT,
    FIND,
    READ_ON,
    RECALL,
    CompactRequest,
    CompactResult,
    FindRequest,
    FindResult,
    ReadOnRequest,
    ReadOnResult,
    RecallRequest,
    RecallResult,
    Told,
)
from orchestrator.errors import DefinitionError, InvalidInput
from orchestrator.execution import Execution
from orchestrator.found import Passages
from orchestrator.messages import BlobRef, Excerpt, ToolCall, ToolSpec
from orchestrator.tool import problem_of

__all__ = ["OWN_TOOLS", "READ_MORE_TOOL", "RECALL_TOOL", "LookingBack", "require_names"]

READ_MORE_TOOL = ToolSpec(
    name="read_more",
    description="Read on in a tool's result that was too long to be shown whole.",
    parameters={
        "type": "object",
        "properties": {
            "result": {"type": "string", "description": "its name, as the line says that stands where it was cut"},
            "offset": {"type": "integer", "minimum": 0, "description": "the character to begin with"},
        },
        "required": ["result", "offset"],
        "additionalProperties": False,
    },
)
RECALL_TOOL = ToolSpec(
    name="recall",
    description="Search the part of this conversation that is no longer shown. Returns the passages that fit best.",
    parameters={
        "type": "object",
        "properties": {"query": {"type": "string", "description": "words that what is looked for would hold"}},
        "required": ["query"],
        "additionalProperties": False,
    },
)
OWN_TOOLS = (READ_MORE_TOOL, RECALL_TOOL)

RECALLED = 3
"""Passages that a model's question for earlier ones brings."""

T = TypeVar("T", bound=Told)
A = TypeVar("A", bound=BaseModel)


class _ReadMore(BaseModel):
    model_config = ConfigDict(extra="forbid")

    result: str
    offset: Annotated[int, Field(ge=0)] = 0


class _Recall(BaseModel):
    model_config = ConfigDict(extra="forbid")

    query: str


def require_names(tools: Sequence[ToolSpec], own: Sequence[ToolSpec]) -> None:
    """Refuses tools that have the name of one that the conversation has of its own.

    Raises:
        DefinitionError: one has.
    """
    names = {tool.name for tool in own}
    for tool in tools:
        if tool.name in names:
            raise DefinitionError(
                f"tool {tool.name!r}",
                problem="the conversation has a tool of this name of its own",
                remedy="Rename it, or do without the conversation's: recall=False, or a `show` that no result exceeds.",
            )


class LookingBack:
    """Steps on what is stored of a run's conversations."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    async def find(self, transcript: str) -> FindResult:
        """A conversation of the tenant.

        Raises:
            UnknownName: there is none of that name.
        """
        request = FindRequest(scope=self._execution.scope, transcript=transcript)
        return await self._step(FIND, request, FindResult, summary=transcript[:12], booked="took up a conversation")

    async def call(self, call: ToolCall, transcript: str, *, counts: bool) -> str | BlobRef | Excerpt:
        """What a model's call of one of these tools comes to.

        Args:
            transcript: the conversation with the call.
            counts: whether it is a step of the run's path, as against one of a branch.

        Raises:
            InvalidInput: the arguments don't fit, or there is no such place in the result.
            UnknownName: the conversation has no such result.
        """
        scope = self._execution.scope
        if counts:
            self._execution.passed_through(call.name)
        if call.name == READ_MORE_TOOL.name:
            wanted = _parsed(_ReadMore, call)
            request = ReadOnRequest(scope=scope, transcript=transcript, result=wanted.result, offset=wanted.offset)
            summary = f"{wanted.result} from {wanted.offset:,}"
            read = await self._step(READ_ON, request, ReadOnResult, summary=summary, booked="read on in a result")
            return read.page
        found = await self._recall(transcript, _parsed(_Recall, call).query, RECALLED, by_reference=True)
        return found.content or ""

    async def recall(self, transcript: str, query: str, k: int) -> Passages:
        """Passages of what was said before what a conversation shows."""
        found = await self._recall(transcript, query, k, by_reference=False)
        passages = Passages(found.passages)
        passages.mode, passages.receipt = "fulltext", found.receipt
        return passages

    async def compact(self, transcript: str, *, summary: str, keep_last: int) -> CompactResult:
        """The conversation with its older part replaced by the last reply of another one."""
        request = CompactRequest(
            scope=self._execution.scope, transcript=transcript, summary=summary, keep_last=keep_last
        )
        return await self._step(
            COMPACT, request, CompactResult, summary=transcript[:12], booked="compacted a conversation"
        )

    async def _recall(self, transcript: str, query: str, k: int, *, by_reference: bool) -> RecallResult:
        request = RecallRequest(
            scope=self._execution.scope, transcript=transcript, query=query, k=k, by_reference=by_reference
        )
        return await self._step(RECALL, request, RecallResult, summary=query, booked="recalled what was said earlier")

    async def _step(self, name: str, request: BaseModel, result: type[T], *, summary: str, booked: str) -> T:
        return await self._execution.look_back(
            name, request, result, timeout=timedelta(minutes=1), summary=summary, booked=booked
        )


def _parsed(kind: type[A], call: ToolCall) -> A:
    try:
        return kind.model_validate_json(call.arguments or "{}")
    except ValidationError as error:
        raise InvalidInput(f"tool {call.name!r}", problem_of(error)) from error
