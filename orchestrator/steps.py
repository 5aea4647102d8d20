"""What travels between a workflow and its activities, and the names under which it does.

Pure; imports nothing that does I/O. One payload in, one out, each small: transcripts and tool results go by reference.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from orchestrator.budget import Allowance, Budget, OnExhausted
from orchestrator.messages import BlobRef, Message, ToolCall
from orchestrator.passages import Passage
from orchestrator.reruns import RecordedStep, Rerun
from orchestrator.strategies.expected import Experience
from orchestrator.toolservers import ToolListing
from orchestrator.usage import Receipt, Usd
from orchestrator.watches import Watch

__all__ = [
    "ANSWER",
    "CLOSE_RUN",
    "DISCARD",
    "EXPERIENCE",
    "GENERATE",
    "GRADE",
    "LEDGER_QUEUE",
    "OWN_NAMES",
    "RETRIEVAL_QUEUE",
    "RETRIEVE",
    "TOP_UP",
    "WARM",
    "AnswerRequest",
    "CallServerToolRequest",
    "CallToolRequest",
    "CallToolResult",
    "CloseRunRequest",
    "CloseRunResult",
    "DiscardRequest",
    "DiscardResult",
    "ExperienceRequest",
    "ExperienceResult",
    "FinishReason",
    "GenerateRequest",
    "GenerateResult",
    "GradeRequest",
    "GradeResult",
    "Inheritance",
    "ListToolsRequest",
    "ListToolsResult",
    "RetrieveRequest",
    "RetrieveResult",
    "RunScope",
    "RunStatus",
    "Sampling",
    "ToolChoice",
    "TopUp",
    "TopUpRequest",
    "WarmRequest",
    "WarmResult",
    "beside_of",
    "engine_queue",
    "step_ahead",
    "tools_queue",
    "workflows_queue",
]

GENERATE = "generate"
WARM = "warm"
GRADE = "grade"
RETRIEVE = "retrieve"
ANSWER = "answer_from_record"
CLOSE_RUN = "close_run"
DISCARD = "discard"
EXPERIENCE = "experience"
TOP_UP = "top_up"
"""Names of the activities; a tool's activity has the tool's own name. `top_up` is a run's signal as well."""

OWN_NAMES = frozenset({GENERATE, WARM, GRADE, RETRIEVE, ANSWER, CLOSE_RUN, DISCARD, EXPERIENCE, TOP_UP})
"""No tool may be called so."""

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


def step_ahead(beside: str, number: int) -> str:
    """Names a tool call that is made before the model asks for it, by the step that makes the model's reply."""
    return f"{beside}~{number}"


def beside_of(step: str) -> str | None:
    """The step beside which a call was made ahead; `None` for any other step."""
    beside, mark, _ = step.partition("~")
    return beside if mark else None


class RunStatus(StrEnum):
    """How a run stands, in the words of the REST API."""

    RUNNING = "running"
    PAUSED = "paused"
    """It runs, and waits for a top-up or for a person's answer."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    TIMED_OUT = "timed_out"

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return self not in (RunStatus.RUNNING, RunStatus.PAUSED)


class _Payload(BaseModel):
    model_config = ConfigDict(frozen=True)


class RunScope(_Payload):
    """Whose run a step belongs to, for the ledger."""

    tenant: str
    workflow: str
    version: str = "1"
    run: str
    """The run's first execution id: stable over continue-as-new and resets."""
    workflow_id: str
    started_at: datetime
    budget: Budget | None = None
    parent: "RunScope | None" = None
    """The run that started this one as a child."""
    backtest: str | None = None
    """The backtest whose rerun it is; `None` for a run made in earnest."""

    @property
    def lineage(self) -> "tuple[RunScope, ...]":
        """This run, the one that started it, and so on up to the outermost."""
        return (self,) if self.parent is None else (self, *self.parent.lineage)

    @property
    def root(self) -> str:
        """The outermost run."""
        return self.lineage[-1].run

    @property
    def cache_salt(self) -> str:
        """Whose prompts' prefixes the engine may reuse for it: its tenant's.

        Reruns share theirs with the reruns of their backtest alone: what the originals left in the engine's cache would
        make them look cheaper than they are.
        """
        return self.tenant if self.backtest is None else f"{self.tenant} {self.backtest}"

    @property
    def on_exhausted(self) -> OnExhausted:
        """What this run does when a step fits no more: as its own budget says, else the nearest one above."""
        for scope in self.lineage:
            if scope.budget is not None:
                return scope.budget.on_exhausted
        return "fail"


class Inheritance(_Payload):
    """What a run hands to a child, or to the run that goes on in its place; travels in a header."""

    parent: RunScope | None = None
    budget: Budget | None = None
    """What the child may spend, in place of what its definition says."""
    tenant: str
    receipt: Receipt | None = None
    """What the run that goes on has paid so far."""
    started_at: datetime | None = None
    path: tuple[str, ...] = ()
    listings: dict[str, ToolListing] = {}
    """What tool servers offer to the run that goes on."""
    grants: tuple[str, ...] = ()
    """Tools that its model may call without asking a person."""
    rerun: Rerun | None = None
    """What a rerun of an earlier run answers from; `None` where it is none."""


class Sampling(_Payload):
    """How to decode."""

    max_tokens: Annotated[int, Field(gt=0)] = 512
    """Output tokens at most. The engine reserves memory for them, so an honest figure is faster."""
    temperature: Annotated[float, Field(ge=0)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None

    @property
    def is_repeatable(self) -> bool:
        """Whether the same prompt is to get the same reply: one that is the likeliest, or drawn by a seed."""
        return self.temperature == 0 or self.seed is not None


ToolChoice = Literal["auto", "required", "none"]
"""Whether the model may, must or may not call a tool in its next reply."""

FinishReason = Literal["stop", "length", "tool_calls", "watched"]
"""`length`: `max_tokens` cut it off. `watched`: its watch ended it."""


class GenerateRequest(_Payload):
    scope: RunScope
    transcript: str | None
    """The chain to continue; `None` starts one."""
    append: tuple[Message, ...]
    sampling: Sampling
    output_schema: dict[str, JsonValue] | None = None
    """JSON Schema that the reply must follow."""
    tool_choice: ToolChoice = "auto"
    closing: bool = False
    """Whether it may draw on what the budget keeps for the answer; `max_tokens` is then cut to what that holds."""
    limit: Allowance | None = None
    """What the step may use at most; `max_tokens` is cut to that."""
    measure: bool = False
    """Whether to say how likely the reply was, and how sure the model."""
    watch: Watch | None = None
    cache: timedelta | None = None
    """How old a kept reply may be that is handed out in place of a call; `None`: none is."""


class GenerateResult(_Payload):
    transcript: str
    """The chain with the reply appended."""
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason
    exact_prefix: bool
    """Whether the prompt continued the engine's own tokens; false where the chain had to be rendered anew."""
    server: str
    step: str = ""
    """The step's name in the ledger, by which it can be discarded later."""
    tokens: int | None = None
    """Of the conversation with this reply; `None` where it isn't known."""
    likelihood: float | None = None
    """Geometric mean of its tokens' probabilities; where measured."""
    confidence: float | None = None
    """Mean confidence of its tokens; where measured."""
    weakest: float | None = None
    """The lowest mean confidence of a group of its tokens; where measured."""
    receipt: Receipt


class WarmRequest(_Payload):
    scope: RunScope
    transcript: str | None
    append: tuple[Message, ...]


class WarmResult(_Payload):
    receipt: Receipt


class GradeRequest(_Payload):
    scope: RunScope
    transcript: str | None
    """The chain to judge; `None` where there is only what is appended."""
    append: tuple[Message, ...] = ()
    """Goes to be judged with it."""
    question: str
    """Put after it; answered with one of the labels."""
    labels: tuple[str, ...]


class GradeResult(_Payload):
    probabilities: tuple[float, ...]
    """Of each label to be the answer; they add up to 1."""
    mass: float
    """How likely it was that the answer is one of the labels at all."""
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
    fresh: bool = False
    """Whether a kept result won't do."""


class CallToolResult(_Payload):
    content: str | BlobRef | None = None
    """For a transcript: the text that the model reads, or where it is kept."""
    value: Any = None
    """For a workflow: the result itself, as JSON."""
    receipt: Receipt


class CallServerToolRequest(CallToolRequest):
    tool: str
    """The server's own name of it."""
    name: str
    """The name that the model sees."""


class ListToolsRequest(_Payload):
    scope: RunScope


class ListToolsResult(_Payload):
    listing: ToolListing
    receipt: Receipt


class AnswerRequest(_Payload):
    """A step of a rerun, to be answered from the record of the original."""

    scope: RunScope
    kind: Literal["tool", "retrieve"]
    name: str
    """The tool or the collection."""
    of: str
    """The original's workflow id."""
    step: RecordedStep | None
    """The step that answers; `None` where there is none on the record."""
    by_reference: bool = False


class CloseRunRequest(_Payload):
    scope: RunScope
    status: RunStatus
    error: str | None = None
    path: str = ""
    passed: bool | None = None
    """What the workflow's check of correctness said; `None` where it has none."""


class CloseRunResult(_Payload):
    """What a run and the runs that it started cost in the end."""

    cost: Usd
    tokens: int
    seal: str | None
    """Head of the hash chain over its charges."""


class DiscardRequest(_Payload):
    scope: RunScope
    steps: tuple[str, ...]


class DiscardResult(_Payload):
    cancelled: Receipt
    """What those of them cost that were cancelled, and so had no result to say it."""


class ExperienceRequest(_Payload):
    scope: RunScope


class ExperienceResult(_Payload):
    """What past runs of the workflow say of strategies."""

    known: tuple[Experience, ...]


class TopUp(Allowance):
    """What is added to a run's budget; the payload of the signal `top_up`."""

    wall: Annotated[timedelta, Field(gt=timedelta(0))] | None = None

    @model_validator(mode="after")
    def _adds_something(self) -> Self:
        if all(amount is None for amount in (self.usd, self.tokens, self.gpu_seconds, self.calls, self.wall)):
            raise ValueError("a top-up adds usd, tokens, gpu_seconds, calls or wall")
        return self


class TopUpRequest(_Payload):
    scope: RunScope
    key: str
    """Names the top-up, so that one that is delivered twice counts once."""
    amount: TopUp
