"""Answer step by step, with more ways on from the steps that the judge likes."""

from collections.abc import Mapping, Sequence
from math import ceil, exp
from typing import Annotated, Literal

from pydantic import Field

from orchestrator.strategies.machine import Strategy, Trial, Turn
from orchestrator.strategies.parameters import Count

__all__ = ["Beam", "shared_out"]

STEP = "step"


class Beam(Strategy):
    """Reward-balanced search, REBASE (arXiv 2408.00724): a level's ways on are shared out by the softmax of its scores.

    Each trial is one step; the judge scores steps, finished or not, as a process reward model does. A trial with an
    answer is a finished one and leaves the search, which is narrower by one from then on. An answer that passes ends
    it. Its confidence is the answer's score.
    """

    kind: Literal["beam"] = "beam"
    width: Count = 4
    """Ways on from a level, of all its steps together."""
    steps: Count = 8
    """Of one answer, at most."""
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.2
    """Of the softmax: the smaller, the more goes to the best step."""
    parallel: Count = 4

    @property
    def needs_judge(self) -> bool:
        return True

    @property
    def drafts_at_most(self) -> int:
        return self.width * self.steps

    def decide(self, turn: Turn) -> None:
        if any(trial.answered and trial.passed for trial in turn.trials):
            turn.finish(*self.best(turn.state))
            return
        for trial in turn.of("drafted"):
            if trial.answered or trial.arm == STEP:
                turn.judge(trial)
        levels = _levels(turn.trials)
        for depth in range(self.steps):
            level = levels[depth] if depth < len(levels) else ()
            missing = self._missing(levels[:depth], level)
            if missing:
                for parent in missing[: turn.places(self.parallel)]:
                    turn.draft(arm=STEP, builds_on=parent, how="step")
                return
            if not level or any(trial.status in ("drafting", "judging") for trial in level):
                return

    def _missing(self, above: Sequence[Sequence[Trial]], level: Sequence[Trial]) -> Sequence[int | None]:
        """The steps that have ways on that aren't begun yet, each as often as it has, the best first."""
        missing = list[int | None]()
        for parent, share in self._shares(above).items():
            missing += [parent] * (share - sum(trial.builds_on == parent for trial in level))
        return missing

    def _shares(self, above: Sequence[Sequence[Trial]]) -> Mapping[int | None, int]:
        """How many ways on the steps of the last of these levels have; the task itself where there is none."""
        if not above:
            return {None: self.width}
        width = self.width - sum(trial.answered for level in above for trial in level)
        open_ = [trial for trial in above[-1] if trial.status == "judged" and not trial.answered]
        open_.sort(key=lambda trial: (-(trial.score or 0.0), trial.number))
        shares = shared_out(width, [trial.score or 0.0 for trial in open_], self.temperature)
        return {trial.number: share for trial, share in zip(open_, shares, strict=True)}


def shared_out(width: int, scores: Sequence[float], temperature: float) -> Sequence[int]:
    """A width over falling scores, by their softmax: each rounded up, as long as there is something left."""
    weights = [exp((score - scores[0]) / temperature) for score in scores]
    shares = list[int]()
    for place, weight in enumerate(weights):
        # What is a whole number but for the rounding of floats stays one.
        share = max(0, ceil(width * weight / sum(weights[place:]) - 1e-9))
        shares.append(share)
        width -= share
    return shares


def _levels(trials: Sequence[Trial]) -> Sequence[Sequence[Trial]]:
    """Steps by how many there are before them."""
    depths, levels = dict[int, int](), list[list[Trial]]()
    for trial in trials:
        if trial.arm == STEP:
            depth = depths[trial.number] = 0 if trial.builds_on is None else depths[trial.builds_on] + 1
            if depth == len(levels):
                levels.append([])
            levels[depth].append(trial)
    return levels
