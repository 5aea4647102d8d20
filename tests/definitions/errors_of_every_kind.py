"""One error of each kind that is raised."""

from collections.abc import Sequence

from orchestrator.errors import (
    BudgetExceeded,
    ConfigurationError,
    DefinitionError,
    EngineOverloaded,
    EngineRejected,
    EngineUnavailable,
    IdempotencyConflict,
    InvalidInput,
    ModelMismatch,
    OrchestratorError,
    OutputInvalid,
    OutputNotSerializable,
    OutputTooLarge,
    ToolFailed,
    ToolResultTooLarge,
    ToolTimedOut,
    UnknownName,
)

__all__ = ["ERRORS"]

ERRORS: Sequence[OrchestratorError] = (
    BudgetExceeded("usd", allowed="$0.10", spent="$0.09", needed="$0.02"),
    ConfigurationError("port 1 is taken", remedy="Free it."),
    DefinitionError("tool 'x'", problem="it is wrong", remedy="Make it right."),
    EngineOverloaded("http://e", 429, "full", 2.5),
    EngineRejected("http://e", 400, "no such field"),
    EngineUnavailable("http://e", "refused"),
    IdempotencyConflict("k", "run-1"),
    InvalidInput("workflow 'x'", "value: no number"),
    ModelMismatch("http://e", served="a", wanted="b"),
    OutputInvalid("Fact", attempts=3, problem="value: Field required", reply="{}"),
    OutputNotSerializable("tool 'x'", "object"),
    OutputTooLarge("workflow 'x'", 3_000_000, 1_900_000),
    ToolFailed("x", "OSError: no disk"),
    ToolResultTooLarge("x", 70_000, 65_536),
    ToolTimedOut("x", 1.5),
    UnknownName("tool", "calculater", ["search", "calculator"]),
)
