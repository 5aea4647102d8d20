"""Ask several times, and take the most frequent answer."""

from itertools import takewhile
from typing import Annotated, Literal

from pydantic import Field

from orchestrator.strategies.machine import State, Strategy, Trial, Turn
from orchestrator.strategies.parameters import Count, Share
from orchestrator.strategies.votes import Tally, drafts_to_come, posterior, votes_to_go

__all__ = ["Vote"]


class Vote(Strategy):
    """Self-consistency: drafts vote until the outcome is plain enough. A draft without an answer doesn't vote.

    Its confidence is the probability that the answer is the most frequent of those that the model would give.
    """

    kind: Literal["vote"] = "vote"
    at_most: Count = 8
    """Drafts."""
    at_least: Count = 3
    """Votes before which it doesn't end, unless the rest can't change it: two drafts with one mistake aren't rare."""
    parallel: Count = 4
    """Drafts at a time; fewer where fewer would settle it if they agreed."""
    confidence: Share | None = 0.9
    """Ends once so sure that the drafts that are left wouldn't change the answer: what Adaptive-Consistency
    (arXiv 2305.11860) asks of drafts without end, of those that there can be."""
    window: Annotated[int, Field(ge=2)] | None = None
    """Ends once the last so many answers agree (ESC, arXiv 2401.10480). With neither, all drafts are made."""

    @property
    def counts_answers(self) -> bool:
        return True

    @property
    def drafts_at_most(self) -> int:
        return self.at_most

    def decide(self, turn: Turn) -> None:
        to_go = self._to_go(turn)
        if not to_go:
            turn.finish(*self.best(turn.state))
            return
        unbegun = self.at_most - len(turn.trials)
        for _ in range(min(turn.places(self.parallel), unbegun, to_go - len(turn.running))):
            turn.draft()

    def _to_go(self, turn: Turn) -> int:
        """How many more votes end it if all are for the leader, of those that may come; 0 where it is settled."""
        votes, to_come = turn.state.answered, drafts_to_come(turn, self.at_most)
        if self.confidence is None and self.window is None:
            return to_come
        tally = Tally.of(votes)
        first = 0 if tally.leader is None else tally.leader.number
        ahead, behind = int(tally.ahead), int(tally.behind)
        ties = tally.ties and all(first <= trial.number for trial in turn.running)
        certain = votes_to_go(ahead, behind, to_come, ties=ties, confidence=1.0)
        to_go = certain
        if self.confidence is not None:
            to_go = votes_to_go(ahead, behind, to_come, ties=ties, confidence=self.confidence)
        if self.window is not None:
            same = sum(1 for _ in takewhile(lambda trial: trial.answer == votes[-1].answer, reversed(votes)))
            to_go = min(to_go, self.window - same)
        return min(max(to_go, self.at_least - len(votes)), certain)

    def best(self, state: State) -> tuple[Trial | None, float | None]:
        tally = Tally.of(state.answered)
        return tally.leader, None if tally.leader is None else posterior(int(tally.ahead), int(tally.behind))
