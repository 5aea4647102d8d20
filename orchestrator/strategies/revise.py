"""Ask, have the answer judged, and ask again with what is wrong."""

from typing import Literal

from orchestrator.strategies.machine import State, Strategy, Trial, Turn
from orchestrator.strategies.parameters import Count, Share, accepted

__all__ = ["Revise"]


class Revise(Strategy):
    """One draft after another, each with the judge's word on an earlier one (Reflexion, arXiv 2303.11366).

    Its confidence is the answer's score.
    """

    kind: Literal["revise"] = "revise"
    at_most: Count = 4
    """Drafts, the first included."""
    accept: Share = 1.0
    """The score that is good enough, where the judge can't say that an answer passed."""
    from_best: bool = True
    """Whether the best answer so far is revised, and the best is taken in the end. Otherwise it is the last one: a
    single conversation, none of which is thrown away."""

    @property
    def needs_judge(self) -> bool:
        return True

    @property
    def throws_away(self) -> bool:
        return self.from_best

    @property
    def drafts_at_most(self) -> int:
        return self.at_most

    def decide(self, turn: Turn) -> None:
        if any(accepted(trial, self.accept) for trial in turn.trials):
            turn.finish(*self.best(turn.state))
            return
        turn.judge_answers()
        if turn.running or len(turn.trials) == self.at_most or not turn.places(1):
            return
        if not turn.state.answered:
            turn.draft()
            return
        revised = max(
            turn.state.answered, key=lambda trial: (trial.score or 0.0 if self.from_best else 0.0, trial.number)
        )
        turn.draft(builds_on=revised.number, how="revise")

    def best(self, state: State) -> tuple[Trial | None, float | None]:
        if self.from_best or not state.answered:
            return super().best(state)
        last = state.answered[-1]
        return last, last.score
