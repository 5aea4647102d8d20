"""What travels between a workflow and the activities on stored conversations, and the names of those.

Pure; imports nothing that does I/O. Only names and references travel: what was said stays in the transcript store.
"""

from pydantic import BaseModel, ConfigDict

from orchestrator.messages import BlobRef, Excerpt
from orchestrator.passages import Passage
from orchestrator.steps import RunScope
from orchestrator.usage import Receipt

__all__ = [
    "COMPACT",
    "FIND",
    "READ_ON",
    "RECALL",
    "CompactRequest",
    "CompactResult",
    "FindRequest",
    "FindResult",
    "ReadOnRequest",
    "ReadOnResult",
    "RecallRequest",
    "RecallResult",
    "Told",
]

FIND = "find_transcript"
READ_ON = "read_on_in_result"
RECALL = "recall_from_transcript"
COMPACT = "compact_transcript"


class _Payload(BaseModel):
    model_config = ConfigDict(frozen=True)


class Told(_Payload):
    """What such a step comes to."""

    receipt: Receipt


class FindRequest(_Payload):
    scope: RunScope
    transcript: str


class FindResult(Told):
    tools: tuple[str, ...]
    """Names of the tools that its prompts offer."""
    own: tuple[str, ...]
    """Names of those that it has of its own."""
    turns: int
    tokens: int | None
    """Tokens that its next prompt begins with; `None` where no engine has counted them."""
    least: int | None
    """Those that it had with its first reply, or with the first one since it was compacted."""


class ReadOnRequest(_Payload):
    scope: RunScope
    transcript: str
    """The conversation in which the result stands."""
    result: str
    """As the model names it."""
    offset: int


class ReadOnResult(Told):
    page: Excerpt


class RecallRequest(_Payload):
    scope: RunScope
    transcript: str
    query: str
    k: int
    by_reference: bool
    """Whether the model reads it, and only its reference goes into history."""


class RecallResult(Told):
    passages: tuple[Passage, ...] = ()
    content: str | BlobRef | None = None
    """For the model: what it reads, or where that is kept."""


class CompactRequest(_Payload):
    scope: RunScope
    transcript: str
    summary: str
    """The conversation whose last reply is the summary."""
    keep_last: int
    """Turns that stay as they are."""


class CompactResult(Told):
    transcript: str
    """The conversation that goes on."""
    summary: str
    """As the model reads it."""
    turns: int
