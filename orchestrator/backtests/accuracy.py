"""Whether a result is right: by a check that is given, by the workflow's own, or since it is what it was before."""

from collections.abc import Callable
from typing import Any, Literal

from pydantic import JsonValue, ValidationError

from orchestrator.errors import OrchestratorError
from orchestrator.signature import Signature

__all__ = ["Accuracy", "Check", "Judgement"]

Accuracy = Literal["check", "workflow", "match"]
"""What says that a result is right.

- `check`: a function given for the backtest.
- `workflow`: the workflow's own check, or `ctx.judge`.
- `match`: it equals the one on record, by which the originals are all right.
"""

Check = Callable[[Any, Any], bool]
"""Whether a result is right for an input, both as the workflow's annotations say."""


class Judgement:
    """Says which results are right; `None` where it can't."""

    def __init__(self, by: Accuracy, signature: Signature, check: Check | None) -> None:
        self.problem: str | None = None
        """What the check raised first, if it ever did."""
        self._by = by
        self._signature = signature
        self._check = check

    def original(self, value: JsonValue, result: JsonValue, passed: bool | None) -> bool | None:
        """Of the run on record."""
        if self._by == "match":
            return True
        return passed if self._by == "workflow" else self._checked(value, result)

    def rerun(self, value: JsonValue, result: JsonValue, passed: bool | None, *, recorded: JsonValue) -> bool | None:
        """Of a rerun that completed."""
        if self._by == "match":
            return result == recorded
        return passed if self._by == "workflow" else self._checked(value, result)

    def _checked(self, value: JsonValue, result: JsonValue) -> bool | None:
        assert self._check is not None
        try:
            parsed, made = self._signature.parse(value), self._signature.output.validate_python(result)
        except (OrchestratorError, ValidationError):  # of another version: it doesn't fit any more
            return None
        try:
            return bool(self._check(parsed, made))
        except Exception as error:  # whatever the user's check raises, it has not said that the result is right
            self.problem = self.problem or f"{type(error).__name__}: {error}"
            return None
