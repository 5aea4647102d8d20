"""Ask several times, have each answer judged, and take the best."""

from typing import Literal

from orchestrator.strategies.machine import Strategy, Turn
from orchestrator.strategies.parameters import Count, Share, accepted

__all__ = ["BestOf"]


class BestOf(Strategy):
    """Best of N by a judge, as a race: the first answer that is good enough ends it, and the rest are given up.

    Repeated sampling (Large Language Monkeys, arXiv 2407.21787). Its confidence is the answer's score.
    """

    kind: Literal["best_of"] = "best_of"
    at_most: Count = 8
    """Drafts."""
    parallel: Count = 4
    """Drafts that are made or judged at a time."""
    accept: Share | None = 1.0
    """The score that wins the race, where the judge can't say what passed. `None`: no race, all are judged."""

    @property
    def needs_judge(self) -> bool:
        return True

    @property
    def drafts_at_most(self) -> int:
        return self.at_most

    def decide(self, turn: Turn) -> None:
        if self.accept is not None and any(accepted(trial, self.accept) for trial in turn.trials):
            turn.finish(*self.best(turn.state))
            return
        turn.judge_answers()
        places = turn.places(self.parallel, busy=turn.running)
        for _ in range(min(places, self.at_most - len(turn.trials))):
            turn.draft()
