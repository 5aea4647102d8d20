"""Ask several times, cut off what the model isn't sure of, and let sure drafts count for more."""

from collections.abc import Callable, Sequence
from math import floor
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from orchestrator.strategies.machine import State, Strategy, Trial, Turn
from orchestrator.strategies.parameters import Count, Share
from orchestrator.strategies.votes import Tally, drafts_to_come, votes_to_go
from orchestrator.watches import ConfidenceFloor

__all__ = ["ConfidentVote", "percentile"]


class ConfidentVote(Strategy):
    """DeepConf online (arXiv 2508.15260): the first drafts say how sure is sure, and weaker ones end while they stream.

    A draft is as sure as its weakest group of tokens. Those below the threshold don't vote, the first ones neither, and
    the others weigh what they are sure. Where the engine doesn't measure that, it is a plain vote. Its confidence is
    the leading answer's share of the weight.
    """

    kind: Literal["confident_vote"] = "confident_vote"
    warmup: Count = 4
    """Drafts that run to their end and set the threshold."""
    at_most: Count = 16
    """Drafts, these included."""
    at_least: Count = 3
    """Votes before which it doesn't end, if there can be so many."""
    parallel: Count = 4
    keep: Annotated[float, Field(gt=0, le=1)] = 0.9
    """The share of the first drafts that is above the threshold: 0.9 is the paper's DeepConf-high, 0.1 its -low."""
    window: Count = 64
    """Tokens of a group."""
    consensus: Share = 0.9
    """Ends once the leading answer has such a share of the weight, or as `Vote` does, which may be before the first
    drafts are all made."""

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.warmup > self.at_most:
            raise ValueError(f"warmup ({self.warmup}) exceeds at_most ({self.at_most})")
        return self

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
        # A floor of 0 ends nothing, and says which groups are to be measured.
        watch = ConfidenceFloor(least=self._threshold(turn.state) or 0.0, window=self.window)
        unbegun = (self.at_most if self._is_warm(turn.state) else self.warmup) - len(turn.trials)
        for _ in range(min(turn.places(self.parallel), unbegun, to_go - len(turn.running))):
            turn.draft(measure=True, watch=watch)

    def _to_go(self, turn: Turn) -> int:
        """How many more votes end it, if all are for the leader; 0 where it is settled."""
        voters = self._voters(turn.state)
        tally = Tally.of(voters, _weight(voters))
        to_come = drafts_to_come(turn, self.at_most)
        to_go = votes_to_go(*tally.count(voters), to_come, ties=tally.ties, confidence=self.consensus)
        if self._is_warm(turn.state) and tally.total and tally.ahead >= self.consensus * tally.total:
            to_go = 0
        return min(max(to_go, self.at_least - len(voters)), to_come)

    def best(self, state: State) -> tuple[Trial | None, float | None]:
        voters = self._voters(state) or state.answered
        tally = Tally.of(voters, _weight(voters))
        return tally.leader, tally.ahead / tally.total if tally.total else None

    def _is_warm(self, state: State) -> bool:
        """Whether the drafts are in that set the threshold."""
        first = state.trials[: self.warmup]
        return len(first) == self.warmup and all(trial.status not in ("drafting", "judging") for trial in first)

    def _threshold(self, state: State) -> float | None:
        if not self._is_warm(state):
            return None
        first = state.trials[: self.warmup]
        known = [trial.weakest for trial in first if trial.whole and trial.weakest is not None]
        return percentile(known, 1 - self.keep) if known else None

    def _voters(self, state: State) -> Sequence[Trial]:
        least = self._threshold(state)
        sure = [trial for trial in state.trials if least is None or trial.weakest is None or trial.weakest >= least]
        return [trial for trial in sure if trial.answered and trial.whole]


def _weight(voters: Sequence[Trial]) -> Callable[[Trial], float]:
    """What each weighs: the same where it isn't known of all how sure they are."""
    measured = all(trial.weakest is not None and trial.weakest > 0 for trial in voters)
    return lambda trial: trial.weakest if measured and trial.weakest is not None else 1.0


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which such a share of them lies, on the line between its neighbours (as NumPy's default)."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = min(floor(place), len(ordered) - 1)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
