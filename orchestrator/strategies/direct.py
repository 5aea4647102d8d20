"""Ask once, and at most bound how long the model thinks."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from orchestrator.strategies.machine import Strategy, Turn
from orchestrator.strategies.parameters import Count
from orchestrator.watches import ThinkingBounds

__all__ = ["Direct"]


class Direct(Strategy):
    """Asks once. How long the model thinks can be bounded (budget forcing, s1, arXiv 2501.19393)."""

    kind: Literal["direct"] = "direct"
    thinking_at_most: Count | None = None
    """Tokens of thinking, after which it must answer."""
    thinking_at_least: Annotated[int, Field(ge=0)] = 0
    """Tokens of thinking before which it is told to think on."""
    extensions: Annotated[int, Field(ge=0)] = 2
    """How often it is told so, at most."""

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.thinking_at_most is not None and self.thinking_at_least > self.thinking_at_most:
            raise ValueError(
                f"thinking_at_least ({self.thinking_at_least}) exceeds thinking_at_most ({self.thinking_at_most})"
            )
        return self

    @property
    def throws_away(self) -> bool:
        return False

    @property
    def drafts_at_most(self) -> int:
        return 1

    def decide(self, turn: Turn) -> None:
        if not turn.trials and turn.places(1):
            turn.draft(watch=self._watch)

    @property
    def _watch(self) -> ThinkingBounds | None:
        if self.thinking_at_most is None and not self.thinking_at_least:
            return None
        return ThinkingBounds(
            at_most=self.thinking_at_most, at_least=self.thinking_at_least, extensions=self.extensions
        )
