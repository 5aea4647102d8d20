"""How the steps of a rerun are answered from the record of the original, or refused.

Deterministic.
"""

from collections.abc import Awaitable
from typing import Any, Protocol, TypeVar

from pydantic import TypeAdapter

from orchestrator.reruns import Record, retrieval_key, tool_key
from orchestrator.steps import AnswerRequest, CallToolResult, RetrieveResult, RunScope
from orchestrator.strategies import AnyStrategy, Strategy
from orchestrator.tool import Tool

__all__ = ["Rerunning"]

A = TypeVar("A", CallToolResult, RetrieveResult)

_STRATEGY: TypeAdapter[AnyStrategy] = TypeAdapter(AnyStrategy)


class _Answering(Protocol):
    def __call__(self, asked: AnswerRequest, result_type: type[A], summary: str, /) -> Awaitable[A]:
        """Takes the step."""
        ...


class Rerunning:
    """A rerun."""

    def __init__(self, record: Record, scope: RunScope, answer: _Answering) -> None:
        self.record = record
        self._scope = scope
        self._answer = answer

    def strategy(self, own: Strategy) -> Strategy:
        """How to think: by the strategy of the variant, where it has one, else by the code's own.

        Each use is counted, so that a backtest can say whether its strategy was used.
        """
        given = self.record.strategy()
        return own if given is None else _STRATEGY.validate_python(given)

    def knows(self, tool: Tool[..., Any], arguments: str) -> bool:
        """Whether the original made this call, and was let."""
        return self.record.has(tool_key(tool.name, arguments, tool))

    async def call(self, tool: Tool[..., Any], arguments: str, by_reference: bool) -> CallToolResult | None:
        """What the original got from this call; `None` where it is to be made after all.

        Raises:
            OffRecord: the original didn't make it, and it may not be made now.
            OrchestratorError: what the original's call failed with.
        """
        step = self.record.find(tool_key(tool.name, arguments, tool), tool.name, tool.effect)
        if step == "live":
            return None
        asked = AnswerRequest(
            scope=self._scope,
            kind="tool",
            name=tool.name,
            of=self.record.rerun.of,
            step=None if step == "off_record" else step,
            by_reference=by_reference,
        )
        return await self._answer(asked, CallToolResult, f"{tool.name} {arguments}")

    async def retrieve(self, collection: str, query: str, k: int) -> RetrieveResult | None:
        """What the original found; `None` where it is to be looked up after all.

        Raises:
            OffRecord: the original didn't look for it, and it may not be looked for now.
        """
        step = self.record.find(retrieval_key(collection, query, k), collection, "read")
        if step == "live":
            return None
        asked = AnswerRequest(
            scope=self._scope,
            kind="retrieve",
            name=collection,
            of=self.record.rerun.of,
            step=None if step == "off_record" else step,
        )
        return await self._answer(asked, RetrieveResult, f"{collection}: {query}")
