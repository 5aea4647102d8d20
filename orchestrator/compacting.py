"""How a conversation is made shorter: what its older part comes to is written down, and stands in its place.

Pure; imports nothing that does I/O.
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, replace

from orchestrator.errors import DefinitionError
from orchestrator.messages import Message
from orchestrator.turns import Turns
from orchestrator.usage import Receipt

__all__ = [
    "KEEP_LAST",
    "SUMMARY_TOKENS",
    "Compacting",
    "Compaction",
    "Extent",
    "require_keep_last",
    "summary_request",
    "summary_text",
]

KEEP_LAST = 4
SUMMARY_TOKENS = 1_024

_WANTED = """\
The beginning of this conversation is about to leave your sight. Write a summary by which you can go on without it.
Keep, in full:
- the goals, and what is asked for now, with every condition;
- decisions, with their reasons;
- facts, with their exact numbers, names, dates and identifiers, and where they are from;
- results of tools that still matter: what was called with what, and what came of it;
- what was tried and failed;
- open questions, and what is to be done next.
Leave out what no longer matters. Write the summary alone, and call no tool."""

_LEFT_OUT = "The beginning of this conversation is no longer shown. This is its summary:"
_RECALL = "If something of it is missing here, look it up with recall."
_QUESTION = "The question that is being answered:"


@dataclass(frozen=True)
class Compacting:
    """When a conversation is compacted by itself, and how."""

    at: int
    """Tokens of the conversation from which on it is compacted before its next reply."""
    _: KW_ONLY
    keep_last: int = KEEP_LAST
    """Turns that stay as they are; while tools are used, each reply with its results is one."""
    instructions: str = ""
    """What else the summary must keep."""
    max_tokens: int = SUMMARY_TOKENS
    """Of the summary."""

    def __post_init__(self) -> None:
        if self.at <= 0:
            raise DefinitionError("compact_at", problem=f"{self.at} tokens are none", remedy="Give a positive number.")
        require_keep_last(self.keep_last)


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How long a conversation is."""

    turns: Turns = field(default_factory=Turns)
    tokens: int | None = None
    """With its last reply; `None` where no engine has counted them."""
    least: int | None = None
    """Tokens that it had with its first reply, or with the first one since it was compacted."""

    def after(self, messages: Sequence[Message], tokens: int | None) -> "Extent":
        """Once the messages have come too, and their tokens are known."""
        least = tokens if self.tokens is None and self.least is None else self.least
        return Extent(turns=self.turns.after(messages), tokens=tokens, least=least)

    def compacted(self, turns: int) -> "Extent":
        """Once only the last turns are left."""
        return Extent(turns=replace(self.turns, count=turns))

    def is_due(self, compacting: Compacting) -> bool:
        """Whether to compact it before its next reply.

        One that was no shorter once compacted is compacted again only when it has grown by a quarter: else each of its
        replies would cost a summary.
        """
        if self.tokens is None or self.tokens < compacting.at:
            return False
        return self.least is None or self.least < compacting.at or 4 * self.tokens >= 5 * self.least


@dataclass(frozen=True, kw_only=True)
class Compaction:
    """What was made of a conversation."""

    before: str
    """The conversation as it was; it can still be read, forked from, and taken up again."""
    after: str
    """The conversation that goes on."""
    summary: str
    """What stands for the older part, as the model reads it."""
    complete: bool
    """Whether the summary came to its own end; where not, `max_tokens` cut it off."""
    receipt: Receipt


def require_keep_last(keep_last: int) -> None:
    """Refuses a negative number of turns.

    Raises:
        DefinitionError: it is one.
    """
    if keep_last < 0:
        raise DefinitionError("keep_last", problem=f"{keep_last} turns are none", remedy="Give 0 or more.")


def summary_request(keep_last: int, instructions: str) -> str:
    """What the model is asked for its summary."""
    kept = {
        0: "",
        1: "The last exchange stays in sight, word for word: don't repeat it.",
    }.get(keep_last, f"The last {keep_last} exchanges stay in sight, word for word: don't repeat them.")
    return "\n".join(part for part in (_WANTED, kept, instructions) if part)


def summary_text(summary: str, question: str, *, recall: bool) -> str:
    """What the model reads in place of the older part.

    Args:
        question: that was being answered where the older part ends; empty if none was.
        recall: whether the model can look up what it no longer sees.
    """
    head = f"{_LEFT_OUT}\n{summary}"
    asked = f"{_QUESTION}\n{question}" if question else ""
    return "\n\n".join(part for part in (head, asked, _RECALL if recall else "") if part)
