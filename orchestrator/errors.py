"""Every error that the orchestrator raises on purpose, sorted by who must act.

```text
OrchestratorError
├── DefinitionError        the developer: a workflow, tool or app that can't be defined as written
├── ConfigurationError     the operator: a setting, a port, a missing part of the installation
├── RequestError           the caller: what was asked for isn't there or doesn't fit
│   ├── UnknownName        a workflow, tool, collection or run, with "did you mean"
│   ├── RunHasEnded        what was asked for needs a run that still goes on
│   ├── NoReceiptYet       the run has taken no paid step
│   ├── InvalidInput       the input breaks the workflow's or tool's schema
│   ├── InvalidPeriod      a report's period that can't be read, or is empty
│   ├── PricesRefused      rows that a price book can't take
│   └── IdempotencyConflict
├── RunError               the run itself: it ends the workflow, and retrying would end the same way
│   ├── BudgetExceeded
│   ├── OutputInvalid      the model's reply breaks the schema, after the repairs allowed
│   ├── OutputNotSerializable
│   ├── OutputTooLarge
│   └── ToolFailed
│       ├── ToolTimedOut
│       └── ToolResultTooLarge
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
    "IdempotencyConflict",
    "InvalidInput",
    "InvalidPeriod",
    "ModelMismatch",
    "NoReceiptYet",
    "OrchestratorError",
    "OutputInvalid",
    "OutputNotSerializable",
    "OutputTooLarge",
    "PricesRefused",
    "RequestError",
    "RunError",
    "RunHasEnded",
    "ToolFailed",
    "ToolResultTooLarge",
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
    """No workflow, tool, collection or run has this name."""

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

    def __init__(self, tool: str, seconds: float) -> None:
        super().__init__(
            tool, f"it didn't return within {seconds:g} s; make it faster, or raise @app.tool(timeout=...)"
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
