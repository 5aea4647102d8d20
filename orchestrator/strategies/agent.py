"""Ask once, with tools, and let the model see what it may still spend."""

from typing import Literal

from orchestrator.strategies.machine import Strategy, Turn

__all__ = ["Agent"]


class Agent(Strategy):
    """Asks once; at each step of its tool loop the model is told what is left of the budget.

    A larger budget alone doesn't help a model that doesn't know of it (BATS, arXiv 2511.17006).
    """

    kind: Literal["agent"] = "agent"

    @property
    def throws_away(self) -> bool:
        return False

    @property
    def drafts_at_most(self) -> int:
        return 1

    def decide(self, turn: Turn) -> None:
        if not turn.trials and turn.places(1):
            turn.draft(shows_budget=True)
