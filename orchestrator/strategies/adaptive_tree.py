"""Ask again or revise, wherever the scores so far promise most."""

from collections.abc import Iterable, Sequence
from random import Random
from typing import Literal, Self

from pydantic import model_validator

from orchestrator.strategies.machine import Strategy, Trial, Turn
from orchestrator.strategies.parameters import Count, Share, accepted

__all__ = ["AdaptiveTree"]


class AdaptiveTree(Strategy):
    """Adaptive branching Monte Carlo tree search with node aggregation, AB-MCTS-A (arXiv 2503.04412).

    At each answer, beginning with the task, it throws dice for two ways on: one more answer from here (wider), or one
    of those that there are (deeper), where it throws again. The dice are Beta posteriors of the scores that each way
    has brought. Its confidence is the answer's score.
    """

    kind: Literal["adaptive_tree"] = "adaptive_tree"
    at_most: Count = 32
    """Drafts."""
    parallel: Count = 1
    """Drafts that are made or judged at a time. The more, the less each knows of the others."""
    accept: Share | None = 1.0
    """The score that ends it, where the judge can't say that an answer passed. `None`: all drafts are made."""
    pools: tuple[str, ...] = ()
    """Models to choose from, by what each has brought so far; the workflow's own if empty."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(set(self.pools)) < len(self.pools):
            raise ValueError(f"pools must differ: {', '.join(self.pools)}")
        return self

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
        scored = turn.trials
        for _ in range(min(places, self.at_most - len(scored))):
            parent, pool = _next_parent(scored, turn.dice), self._next_pool(scored, turn.dice)
            turn.draft(
                builds_on=parent,
                how="afresh" if parent is None else "revise",
                arm="" if pool is None else pool,
                pool=pool,
            )

    def _next_pool(self, trials: Sequence[Trial], dice: Random) -> str | None:
        brought = {pool: _rewards(trial for trial in trials if trial.arm == pool) for pool in self.pools}
        return max(brought, key=lambda pool: _thrown(brought[pool], dice), default=None)


def _next_parent(trials: Sequence[Trial], dice: Random) -> int | None:
    """The answer to revise; `None` where the task is to be answered anew."""
    children, brought = dict[int | None, list[Trial]](), dict[int, list[float]]()
    for trial in trials:
        children.setdefault(trial.builds_on, []).append(trial)
        number: int | None = trial.number
        while number is not None:
            brought.setdefault(number, []).extend(_rewards([trial]))
            number = trials[number].builds_on
    parent: int | None = None
    while True:
        here = children.get(parent, [])
        answers = [trial for trial in here if trial.answered and trial.score is not None]
        deeper = [reward for trial in answers for reward in brought[trial.number][1:]]
        if not answers or _thrown(_rewards(here), dice) >= _thrown(deeper, dice):
            return parent
        parent = max(answers, key=lambda trial: _thrown(brought[trial.number], dice)).number


def _rewards(trials: Iterable[Trial]) -> list[float]:
    """Scores; zero for a draft that gave no answer. What isn't known yet, or was lost, is none."""
    scores = (0.0 if trial.status == "drafted" and not trial.answered else trial.score for trial in trials)
    return [score for score in scores if score is not None]


def _thrown(rewards: Sequence[float], dice: Random) -> float:
    """A die of the Beta posterior of rewards from 0 to 1, after Jeffreys' prior."""
    return dice.betavariate(0.5 + sum(rewards), 0.5 + sum(1 - reward for reward in rewards))
