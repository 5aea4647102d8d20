"""Counting answers: which one leads, how sure that is, and whether more votes might change it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import comb
from typing import Self

from orchestrator.strategies.machine import Trial, Turn

__all__ = ["Tally", "drafts_to_come", "holds", "posterior", "votes_to_go"]


def posterior(ahead: int, behind: int) -> float:
    """Probability that the answer with `ahead` votes is more frequent than the one with `behind`, after even odds.

    `1 - I_1/2(ahead + 1, behind + 1)`, as in Adaptive-Consistency (arXiv 2305.11860); exact, since for whole numbers it
    is the tail of so many tosses of a coin.
    """
    tosses = ahead + behind + 1
    return (2**tosses - sum(comb(tosses, heads) for heads in range(behind + 1))) / 2**tosses


def holds(ahead: int, behind: int, to_come: int, *, ties: bool) -> float:
    """Probability that the answer with `ahead` votes still leads when so many more are in; with `ties`, or is level.

    The votes to come are split as the posterior of `posterior` predicts, which this approaches the more there are.
    """
    kept = 0
    for more in range(to_come + 1):
        lead = ahead + more - (behind + to_come - more)
        if lead > 0 or (ties and lead == 0):
            kept += comb(ahead + more, more) * comb(behind + to_come - more, to_come - more)
    return kept / comb(ahead + behind + 1 + to_come, to_come)


def votes_to_go(ahead: int, behind: int, to_come: int, *, ties: bool, confidence: float) -> int:
    """How many of the votes to come make it so sure that the rest change nothing, were all for the leader."""
    for more in range(to_come):
        if holds(ahead + more, behind, to_come - more, ties=ties) >= confidence:
            return more
    return to_come


def drafts_to_come(turn: Turn, at_most: int) -> int:
    """How many drafts may still bring a vote, where there are so many in all: those that run, and what fits beside."""
    unbegun = at_most - len(turn.trials)
    affordable = unbegun if turn.room.drafts is None else max(0, turn.room.drafts)
    return len(turn.running) + min(unbegun, affordable)


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Votes by answer. Of answers with equal votes, the one leads that was first begun."""

    leader: Trial | None
    """The first trial with the leading answer."""
    ahead: float
    """Votes for the leading answer."""
    behind: float
    """Votes for the next one."""
    total: float
    ties: bool
    """Whether the leading answer would still lead if the next one drew level."""

    @classmethod
    def of(cls, trials: Iterable[Trial], weight: Callable[[Trial], float] = lambda _: 1) -> Self:
        """Counts the trials that came to an answer, in the order in which they were begun."""
        votes, first = dict[str, float](), dict[str, Trial]()
        for trial in trials:
            if trial.answered and trial.answer is not None:
                votes[trial.answer] = votes.get(trial.answer, 0) + weight(trial)
                first.setdefault(trial.answer, trial)
        ranked = sorted(votes, key=lambda answer: (-votes[answer], first[answer].number))
        return cls(
            leader=first[ranked[0]] if ranked else None,
            ahead=votes[ranked[0]] if ranked else 0,
            behind=votes[ranked[1]] if len(ranked) > 1 else 0,
            total=sum(votes.values()),
            ties=len(ranked) < 2 or first[ranked[0]].number < first[ranked[1]].number,
        )

    def count(self, trials: Iterable[Trial]) -> tuple[int, int]:
        """How many trials have the leading answer, and how many the most frequent of the others."""
        answers = [trial.answer for trial in trials if trial.answered]
        mine = None if self.leader is None else self.leader.answer
        return answers.count(mine), max((answers.count(other) for other in answers if other != mine), default=0)
