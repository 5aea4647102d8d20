"""Ask once, and end the thinking as soon as the answer doesn't change any more."""

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.strategies.machine import Strategy, Turn
from orchestrator.strategies.parameters import Count
from orchestrator.watches import AnswerProbes

__all__ = ["EarlyExit"]


class EarlyExit(Strategy):
    """Asks once; the answer so far is probed while the model thinks (Dynasor, arXiv 2412.20993).

    It has no confidence: the probes agree on one train of thought, and aren't evidence of one another.
    """

    kind: Literal["early_exit"] = "early_exit"
    every: Count = 64
    """Tokens from one probe to the next."""
    agree: Annotated[int, Field(ge=2)] = 3
    """So many answers in a row that are the same, end it."""
    max_tokens: Count = 16
    """Of a probe's answer."""
    probe: Annotated[str, Field(min_length=1)] = "\n\nFinal answer:"
    """What is put into the model's mouth."""

    @property
    def throws_away(self) -> bool:
        return False

    @property
    def drafts_at_most(self) -> int:
        return 1

    def decide(self, turn: Turn) -> None:
        if not turn.trials and turn.places(1):
            watch = AnswerProbes(every=self.every, agree=self.agree, probe=self.probe, max_tokens=self.max_tokens)
            turn.draft(watch=watch)
