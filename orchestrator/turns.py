"""Where a conversation may be cut: between turns, never between a tool's call and its result.

Pure; imports nothing that does I/O. A turn begins with a question, or, while tools are used to answer one, with each
further reply of the model: an answer may take hundreds of steps, and is to be cut between them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.messages import AssistantMessage, Message, SummaryMessage, SystemMessage, ToolMessage, UserMessage

__all__ = ["Turns", "turn_starts"]


@dataclass(frozen=True, kw_only=True)
class Turns:
    """How many turns there are, as messages come."""

    count: int = 0
    last: Literal["reply", "question", "result"] = "reply"
    """What came last; nothing counts as a reply. What is said after a tool's result goes with that result."""

    def after(self, messages: Iterable[Message]) -> "Turns":
        """Once the messages have come too."""
        turns = self
        for message in messages:
            turns = turns._after(message)
        return turns

    def _after(self, message: Message) -> "Turns":
        match message:
            case UserMessage():
                if self.last == "reply":
                    return Turns(count=self.count + 1, last="question")
                return self
            case AssistantMessage():
                return Turns(count=self.count + (self.last != "question"))
            case ToolMessage():
                return Turns(count=self.count, last="result")
            case SystemMessage() | SummaryMessage():
                return self


def turn_starts(messages: Sequence[Message]) -> list[int]:
    """The places at which turns begin."""
    starts: list[int] = []
    turns = Turns()
    for place, message in enumerate(messages):
        before, turns = turns, turns.after([message])
        if turns.count > before.count:
            starts.append(place)
    return starts
