"""What travels between a workflow and its activities, and the names under which it does.

Pure; imports nothing that does I/O. One payload in, one out, each small: transcripts and tool results go by reference.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from orchestrator.budget import Budget
from orchestrator.messages import BlobRef, Message, ToolCall
from orchestrator.passages import Passage
from orchestrator.usage import Receipt

__all__ = [
    "CLOSE_RUN",
    "GENERATE",
    "LEDGER_QUEUE",
    "RETRIEVAL_QUEUE",
    "RETRIEVE",
    "CallToolRequest",
    "CallToolResult",
    "CloseRunRequest",
    "FinishReason",
    "GenerateRequest",
    "GenerateResult",
    "RetrieveRequest",
    "RetrieveResult",
    "RunScope",
    "RunStatus",
    "Sampling",
    "ToolChoice",
    "engine_queue",
    "tools_queue",
    "workflows_queue",
]

GENERATE = "generate"
RETRIEVE = "retrieve"
CLOSE_RUN = "close_run"
"""Names of the activities; a tool's activity has the tool's own name."""

RETRIEVAL_QUEUE = "retrieval"
LEDGER_QUEUE = "ledger"


def engine_queue(pool: str) -> str:
    """The task queue that all engine workers of a pool poll."""
    return f"engine.{pool}"


def workflows_queue(app: str) -> str:
    """The task queue of an app's workflows."""
    return f"workflows.{app}"


def tools_queue(app: str) -> str:
    """The task queue of an app's tools, where a tool names no other."""
    return f"tools.{app}"


class RunStatus(StrEnum):
    """How a run stands, in the words of the REST API."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    TIMED_OUT = "timed_out"


class _Payload(BaseModel):
    model_config = ConfigDict(frozen=True)


class RunScope(_Payload):
    """Whose run a step belongs to, for the ledger."""

    tenant: str
    workflow: str
    root: str
    """The run's first execution id: stable over continue-as-new and resets."""
    started_at: datetime
    budget: Budget | None = None


class Sampling(_Payload):
    """How to decode."""

    max_tokens: Annotated[int, Field(gt=0)] = 512
    """Output tokens at most. The engine reserves memory for them, so an honest figure is faster."""
    temperature: Annotated[float, Field(ge=0)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None


ToolChoice = Literal["auto", "required", "none"]
"""Whether the model may, must or may not call a tool in its next reply."""

FinishReason = Literal["stop", "length", "tool_calls"]


class GenerateRequest(_Payload):
    scope: RunScope
    transcript: str | None
    """The chain to continue; `None` starts one."""
    append: tuple[Message, ...]
    sampling: Sampling
    output_schema: dict[str, JsonValue] | None = None
    """JSON Schema that the reply must follow."""
    tool_choice: ToolChoice = "auto"


class GenerateResult(_Payload):
    transcript: str
    """The chain with the reply appended."""
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason
    exact_prefix: bool
    """Whether the prompt continued the engine's own tokens; false where the chain had to be rendered anew."""
    server: str
    receipt: Receipt


class RetrieveRequest(_Payload):
    scope: RunScope
    collection: str
    query: str
    k: int


class RetrieveResult(_Payload):
    passages: tuple[Passage, ...]
    mode: str
    receipt: Receipt


class CallToolRequest(_Payload):
    scope: RunScope
    arguments: str
    """JSON text."""
    by_reference: bool
    """Whether the result goes into a transcript (and only its reference into history) or back to the workflow."""


class CallToolResult(_Payload):
    content: str | BlobRef | None = None
    """For a transcript: the text that the model reads, or where it is kept."""
    value: Any = None
    """For a workflow: the result itself, as JSON."""
    receipt: Receipt


class CloseRunRequest(_Payload):
    scope: RunScope
    status: RunStatus
    error: str | None = None
