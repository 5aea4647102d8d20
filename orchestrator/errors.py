"""Every error that the orchestrator raises on purpose, sorted by who must act.

```text
OrchestratorError
├── DefinitionError        the developer: a workflow, tool or app that can't be defined as written
├── ConfigurationError     the operator: a setting, a port, a missing part of the installation
├── RequestError           the caller: what was asked for isn't there or doesn't fit
│   ├── UnknownName        a workflow, tool, collection, run or question, with "did you mean"
│   ├── RunHasEnded        what was asked for needs a run that still goes on
│   ├── QuestionClosed     a person's answer comes too late
│   ├── InvalidAnswer      a person's answer doesn't fit the question, which stays open
│   ├── NoReceiptYet       the run has taken no paid step
│   ├── NoHistory          no completed run to go by
│   ├── InvalidInput       the input breaks the workflow's or tool's schema
│   ├── InvalidPeriod      a report's period that can't be read, or is empty
│   ├── PricesRefused      rows that a price book can't take
│   └── IdempotencyConflict
├── RunError               the run itself: it ends the workflow, and retrying would end the same way
│   ├── BudgetExceeded
│   ├── ToolServerFailed   it can't be started or reached, or ended in the middle
│   ├── ToolServerUnusable it works, and its tools aren't what the app says
│   ├── HumanTimedOut      nobody answered in time
│   ├── JudgeFailed        a judge raised, or said what is no verdict
│   ├── NoAnswer           a strategy came to its end without an answer
│   ├── OutputInvalid      the model's reply breaks the schema, after the repairs allowed
│   ├── OutputNotSerializable
│   ├── OutputTooLarge
│   └── ToolFailed
│       ├── ToolTimedOut
│       ├── ToolLost       its worker fell silent while it ran
│       ├── ToolResultTooLarge
│       ├── OffRecord      a rerun asked for what the run that it replays never did
│       ├── ToolReportedFailure  the tool ran, and says that it failed
│       └── ToolRefused    a person, or the app's approvals, didn't let the model call it
├── DamagedLedger          the operator: rows of the ledger are not as the orchestrator writes them
└── EngineError            the engine: `retryable` says whether another attempt may do better
    ├── EngineUnavailable
    ├── EngineOverloaded
    ├── EngineRejected
    ├── EngineMisreported
    └── ModelMismatch
```

Each class composes its own message from typed attributes: what happened, with the values, and what to do next.
`status` is the HTTP status, `exit_code` the command's, `retryable` what Temporal is told.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import ClassVar

__all__ = [
    "BudgetExceeded",
    "ConfigurationError",
    "DamagedLedger",
    "DefinitionError",
    "EngineError",
    "EngineMisreported",
    "EngineOverloaded",
    "EngineRejected",
    "EngineUnavailable",
    "HumanTimedOut",
    "IdempotencyConflict",
    "InvalidAnswer",
    "InvalidInput",
    "InvalidPeriod",
    "JudgeFailed",
    "ModelMismatch",
    "NoAnswer",
    "NoHistory",
    "NoReceiptYet",
    "OffRecord",
    "OrchestratorError",
    "OutputInvalid",
    "OutputNotSerializable",
    "OutputTooLarge",
    "PricesRefused",
    "QuestionClosed",
    "RequestError",
    "RunError",
    "RunHasEnded",
    "ToolFailed",
    "ToolLost",
    "ToolRefused",
    "ToolReportedFailure",
    "ToolResultTooLarge",
    "ToolServerFailed",
    "ToolServerUnusable",
    "ToolTimedOut",
    "UnknownName",
]


class OrchestratorError(Exception):
    """Base of every error raised on purpose."""

    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    @property
    def title(self) -> str:
        """A short, stable name of the kind of problem, for RFC 9457 problem details."""
        words = "".join(f" {c.lower()}" if c.isupper() else c for c in type(self).__name__)
        return words.strip().capitalize()


class DefinitionError(OrchestratorError):
    """A workflow, tool or app can't be defined as it is written."""

    exit_code = 2

    def __init__(self, what: str, *, problem: str, remedy: str) -> None:
        self.what, self.problem, self.remedy = what, problem, remedy
        super().__init__(f"{what}: {problem}. {remedy}")


class ConfigurationError(OrchestratorError):
    """A setting is wrong, or a part of the installation is missing."""

    status = 503
    exit_code = 2

    def __init__(self, problem: str, *, remedy: str) -> None:
        self.problem, self.remedy = problem, remedy
        super().__init__(f"{problem}. {remedy}")


class RequestError(OrchestratorError):
    """What the caller asked for isn't there or doesn't fit."""

    status = 422
    exit_code = 2


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`"did you mean 'x'?"`, or the list of what there is, or that there is nothing."""
    names = sorted(known)
    if close := get_close_matches(name, names, n=1, cutoff=0.6):
        return f"did you mean {close[0]!r}?"
    return f"there is {', '.join(map(repr, names))}" if names else "there is none yet"


class UnknownName(RequestError):
    """No workflow, tool, collection, run or question has this name."""

    status = 404

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name = kind, name
        self.known = sorted(known)
        super().__init__(f"no {kind} is called {name!r}: {did_you_mean(name, self.known)}")


class NoReceiptYet(RequestError):
    """The run is there, and nothing was charged to it."""

    status = 404

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"run {run_id!r} has taken no paid step yet: ask for its receipt once it has")


class NoHistory(RequestError):
    """No run of the workflow completed, or none of those meant, so nothing can be said of the next one."""

    status = 404

    def __init__(self, workflow: str, *, ended: int, completed: int = 0) -> None:
        self.workflow, self.ended, self.completed = workflow, ended, completed
        self.basis = "none"
        if completed:
            problem = f"has {completed:,} completed, and none of them is among those asked for. Ask for more of them"
        elif ended:
            times = "once" if ended == 1 else f"{ended:,} times"
            problem = f"ended {times} and never well. Let a run complete and ask again"
        else:
            problem = "was never run. Let a run complete and ask again"
        super().__init__(f"there is no history to go by: workflow {workflow!r} {problem}")


class InvalidInput(RequestError):
    """An input breaks the schema that it must follow."""

    def __init__(self, what: str, problem: str) -> None:
        self.what, self.problem = what, problem
        super().__init__(f"the input of {what} is invalid: {problem}")


class InvalidPeriod(RequestError):
    """A moment of a report's period can't be read, or the period ends before it begins."""

    def __init__(self, what: str, problem: str) -> None:
        self.what, self.problem = what, problem
        super().__init__(f"{what} {problem}")


class PricesRefused(RequestError):
    """Rows break the rules of a price book; none of them was written."""

    SHOWN: ClassVar[int] = 5

    def __init__(self, what: str, problems: Sequence[str]) -> None:
        self.what, self.problems = what, list(problems)
        shown = "; ".join(self.problems[: self.SHOWN])
        more = len(self.problems) - self.SHOWN
        super().__init__(f"{what}: {shown}{f'; and {more} more' if more > 0 else ''}. Nothing was written")


class RunHasEnded(RequestError):
    """What was asked for needs a run that still goes on."""

    status = 409

    def __init__(self, run_id: str, how: str) -> None:
        self.run_id, self.how = run_id, how
        super().__init__(f"run {run_id} has {how} already: start it again, with a larger budget if it ran out of one")


class QuestionClosed(RequestError):
    """The question was answered before, or isn't asked any more."""

    status = 409

    def __init__(self, question: str, how: str) -> None:
        self.question, self.how = question, how
        what = {
            "answered": "was answered already: the first answer counts",
            "timed_out": "wasn't answered in time: the run has gone on without",
            "withdrawn": "isn't asked any more: what asked it has ended",
        }
        super().__init__(f"question {question!r} {what[how]}")


class InvalidAnswer(RequestError):
    """The answer doesn't fit the question."""

    def __init__(self, question: str, problem: str) -> None:
        self.question, self.problem = question, problem
        super().__init__(f"the answer to question {question!r} doesn't fit: {problem}. The question stays open")


class IdempotencyConflict(RequestError):
    """The same `Idempotency-Key` came with another workflow or input."""

    status = 409

    def __init__(self, key: str, run_id: str) -> None:
        self.key, self.run_id = key, run_id
        super().__init__(
            f"the idempotency key {key!r} was used for run {run_id} with another workflow or input: "
            "send a new key, or the same request"
        )


class RunError(OrchestratorError):
    """The run can't go on, and another attempt would end the same way."""

    exit_code = 3


class BudgetExceeded(RunError):
    """The next step's upper bound doesn't fit what is left of a budget: the run's, one above it, or its tenant's."""

    status = 402

    def __init__(
        self,
        limit: str,
        *,
        whose: str,
        allowed: str,
        spent: str,
        needed: str,
        account: str | None = None,
        left_nano: int | None = None,
        left_tokens: int | None = None,
    ) -> None:
        self.limit, self.whose, self.allowed, self.spent, self.needed = limit, whose, allowed, spent, needed
        self.account = account
        self.left_nano, self.left_tokens = left_nano, left_tokens
        super().__init__(
            f"{whose} of {allowed} ({limit}) has {spent} spent or reserved, "
            f"and the next step may take {needed}: raise it, or lower max_tokens"
        )


class HumanTimedOut(RunError):
    """Nobody answered a question in time, and it has no default."""

    def __init__(self, question: str, seconds: float) -> None:
        self.question, self.seconds = question, seconds
        super().__init__(
            f"nobody answered {question[:200]!r} within {seconds:g} s: answer sooner ('orchestrator questions' lists "
            "what is asked), or give ask_human a longer timeout or a default"
        )


class JudgeFailed(RunError):
    """A judge raised, or said what is no verdict."""

    def __init__(self, judge: str, problem: str) -> None:
        self.judge, self.problem = judge, problem
        super().__init__(f"judge {judge!r} failed: {problem}. Make it return a bool, a score or a Verdict")


class NoAnswer(RunError):
    """A strategy came to its end without an answer."""

    def __init__(self, strategy: str, *, drafts: int, problem: str) -> None:
        self.strategy, self.drafts, self.problem = strategy, drafts, problem
        super().__init__(
            f"{strategy} came to no answer in {drafts} drafts; the last one: {problem}. "
            "Allow more drafts or tokens, loosen the output, or use a stronger model"
        )


class OutputInvalid(RunError):
    """The model's reply breaks the output schema, and the repairs allowed are used up."""

    def __init__(self, output: str, *, attempts: int, problem: str, reply: str) -> None:
        self.output, self.attempts, self.problem, self.reply = output, attempts, problem, reply
        super().__init__(
            f"after {attempts} attempts the model's reply is no valid {output}: {problem}. "
            f"Its last reply began {reply[:120]!r}. Simplify {output}, raise max_tokens, or use a stronger model"
        )


class OutputNotSerializable(RunError):
    """A workflow or a tool returned a value that can't be written as JSON."""

    def __init__(self, what: str, kind: str) -> None:
        self.what, self.kind = what, kind
        super().__init__(
            f"{what} returned a {kind}, which can't be written as JSON: return a pydantic model or plain JSON values"
        )


class OutputTooLarge(RunError):
    """A workflow returned more than Temporal keeps in one payload."""

    def __init__(self, what: str, size: int, limit: int) -> None:
        self.what, self.size, self.limit = what, size, limit
        super().__init__(
            f"{what} returned {size:,} bytes, more than the {limit:,} that Temporal keeps in one payload: "
            "return a reference to it, or less"
        )


class ToolFailed(RunError):
    """A tool raised in each attempt that its effect allows."""

    retryable = True

    def __init__(self, tool: str, problem: str) -> None:
        self.tool, self.problem = tool, problem
        super().__init__(f"tool {tool!r} failed: {problem}")


class ToolTimedOut(ToolFailed):
    """A tool didn't return within its timeout."""

    def __init__(self, tool: str, seconds: float, *, setting: str = "@app.tool(timeout=...)") -> None:
        super().__init__(tool, f"it didn't return within {seconds:g} s; make it faster, or raise {setting}")
        self.seconds = seconds


class ToolLost(ToolFailed):
    """The worker that ran a tool was heard of no more."""

    def __init__(self, tool: str, seconds: float) -> None:
        super().__init__(
            tool,
            f"its worker said nothing for {seconds:g} s: it was killed, or the tool holds it up; "
            "await what takes long, or hand it to a thread (asyncio.to_thread)",
        )
        self.seconds = seconds


class ToolResultTooLarge(ToolFailed):
    """A tool returned more than may enter a prompt or a workflow."""

    retryable = False

    def __init__(self, tool: str, size: int, limit: int) -> None:
        super().__init__(
            tool,
            f"it returned {size:,} bytes, more than the {limit:,} allowed; ask for less, or return a page or an id",
        )
        self.size, self.limit = size, limit


class ToolRefused(ToolFailed):
    """The model wanted to call a tool, and wasn't let."""

    retryable = False

    def __init__(self, tool: str, problem: str) -> None:
        self.tool, self.problem = tool, problem
        RunError.__init__(self, f"{problem}. Tool {tool!r} wasn't called: go on without it")


class OffRecord(ToolFailed):
    """A rerun asked for what isn't on the record of the run that it replays, and mustn't be asked live."""

    retryable = False

    def __init__(self, tool: str, of: str) -> None:
        self.of = of
        super().__init__(tool, f"run {of} never asked for this, so nothing on its record answers it")


class ToolReportedFailure(ToolFailed):
    """A tool of a server answered that what it was asked for failed; asked again, it would answer so again."""

    retryable = False


class ToolServerFailed(RunError):
    """A tool server can't be started or reached, doesn't answer, or ended."""

    status = 502
    retryable = True

    def __init__(self, server: str, address: str, problem: str, *, said: str = "") -> None:
        self.server, self.address, self.problem = server, address, problem
        self.said = said
        """The end of what it wrote to its standard error."""
        what = f"tool server {server!r} ({address}) failed: {problem}"
        super().__init__(f"{what}. The end of what it wrote:\n{said}" if said else what)


class ToolServerUnusable(RunError):
    """What a tool server offers isn't what the app says that it does."""

    def __init__(self, server: str, *, problem: str, remedy: str) -> None:
        self.server, self.problem, self.remedy = server, problem, remedy
        super().__init__(f"the tools of server {server!r} can't be used: {problem}. {remedy}")


class DamagedLedger(OrchestratorError):
    """Rows of the ledger can't be read: nothing of the orchestrator wrote them so."""

    def __init__(self, run: str, problem: str) -> None:
        self.run, self.problem = run, problem
        super().__init__(
            f"the ledger's rows of run {run!r} are not as the orchestrator writes them ({problem}): "
            "compare the database with a backup"
        )


class EngineError(OrchestratorError):
    """The engine did not do what it was asked."""

    status = 502


class EngineUnavailable(EngineError):
    """The engine can't be reached, or the connection broke."""

    status = 503
    retryable = True

    def __init__(self, url: str, problem: str, *, reached: bool = False) -> None:
        self.url, self.problem = url, problem
        self.reached = reached
        """Whether the request may have reached it, so that it may have worked on it."""
        super().__init__(
            f"the engine at {url} can't be reached or broke off ({problem}): is it up? 'orchestrator doctor' checks it"
        )


class EngineOverloaded(EngineError):
    """The engine asks for patience: HTTP 408, 409, 429 or 5xx."""

    status = 503
    retryable = True

    def __init__(self, url: str, code: int, problem: str, retry_after: float | None = None) -> None:
        self.url, self.code, self.problem, self.retry_after = url, code, problem, retry_after
        super().__init__(f"the engine at {url} answered {code}: {problem}")


class EngineRejected(EngineError):
    """The engine refuses this request, and would refuse it again: any other 4xx."""

    status = 422

    def __init__(self, url: str, code: int, problem: str) -> None:
        self.url, self.code, self.problem = url, code, problem
        super().__init__(f"the engine at {url} refused the request ({code}): {problem}")


class EngineMisreported(EngineError):
    """The engine answered with figures that can't be, or with something that can't be read."""

    def __init__(self, url: str, problem: str) -> None:
        self.url, self.problem = url, problem
        super().__init__(
            f"the engine at {url} said what can't be ({problem}), so its answer isn't trusted and its bill is an "
            "estimate: check that it is an SGLang of a supported version"
        )


class ModelMismatch(EngineError):
    """The engine serves another model than the one that is configured."""

    def __init__(self, url: str, *, served: str, wanted: str) -> None:
        self.url, self.served, self.wanted = url, served, wanted
        super().__init__(
            f"the engine at {url} serves {served!r}, not {wanted!r}: set ORCHESTRATOR_ENGINE__MODEL={served}, "
            "or point ORCHESTRATOR_ENGINE__URLS at a server of that model"
        )
