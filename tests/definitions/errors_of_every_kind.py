"""One error of each kind that is raised."""

from collections.abc import Sequence

from orchestrator.errors import (
    BudgetExceeded,
    ConfigurationError,
    DamagedLedger,
    DefinitionError,
    EngineMisreported,
    EngineOverloaded,
    EngineRejected,
    EngineUnavailable,
    IdempotencyConflict,
    InvalidInput,
    InvalidPeriod,
    ModelMismatch,
    NoReceiptYet,
    OrchestratorError,
    OutputInvalid,
    OutputNotSerializable,
    OutputTooLarge,
    PricesRefused,
    RunHasEnded,
    ToolFailed,
    ToolResultTooLarge,
    ToolTimedOut,
    UnknownName,
)

__all__ = ["ERRORS"]

ERRORS: Sequence[OrchestratorError] = (
    BudgetExceeded("usd", whose="the run's budget", allowed="$0.10", spent="$0.09", needed="$0.02"),
    ConfigurationError("port 1 is taken", remedy="Free it."),
    DamagedLedger("think-1", "'gratis' is not a valid Outcome"),
    DefinitionError("tool 'x'", problem="it is wrong", remedy="Make it right."),
    EngineMisreported("http://e", "cached tokens (3) exceed prompt tokens (2)"),
    EngineOverloaded("http://e", 429, "full", 2.5),
    EngineRejected("http://e", 400, "no such field"),
    EngineUnavailable("http://e", "refused"),
    IdempotencyConflict("k", "run-1"),
    InvalidInput("workflow 'x'", "value: no number"),
    InvalidPeriod("--since", "'soon' is no date"),
    PricesRefused("the price of m", ["input is negative"]),
    RunHasEnded("run-1", "completed"),
    ModelMismatch("http://e", served="a", wanted="b"),
    NoReceiptYet("think-1"),
    OutputInvalid("Fact", attempts=3, problem="value: Field required", reply="{}"),
    OutputNotSerializable("tool 'x'", "object"),
    OutputTooLarge("workflow 'x'", 3_000_000, 1_900_000),
    ToolFailed("x", "OSError: no disk"),
    ToolResultTooLarge("x", 70_000, 65_536),
    ToolTimedOut("x", 1.5),
    UnknownName("tool", "calculater", ["search", "calculator"]),
)
