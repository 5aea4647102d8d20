"""Ask a few times to see how hard the task is, then go on by the strategy that suits it."""

from collections.abc import Sequence
from statistics import fmean
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from orchestrator.strategies.adaptive_tree import AdaptiveTree
from orchestrator.strategies.agent import Agent
from orchestrator.strategies.beam import Beam
from orchestrator.strategies.best_of import BestOf
from orchestrator.strategies.cascade import Cascade
from orchestrator.strategies.confident_vote import ConfidentVote
from orchestrator.strategies.direct import Direct
from orchestrator.strategies.early_exit import EarlyExit
from orchestrator.strategies.expected import Difficulty, Experience, cheapest_pass
from orchestrator.strategies.machine import State, Strategy, Trial, Turn
from orchestrator.strategies.parameters import Count, Share, accepted
from orchestrator.strategies.revise import Revise
from orchestrator.strategies.vote import Vote

__all__ = ["Auto", "Candidate"]

Candidate = Annotated[
    Direct | Vote | ConfidentVote | EarlyExit | BestOf | Revise | Cascade | Beam | AdaptiveTree | Agent,
    Field(discriminator="kind"),
]

PILOT = "pilot"
_UNJUDGED: tuple[Candidate, ...] = (Direct(), Vote())
_JUDGED: tuple[Candidate, ...] = (Direct(), BestOf(), Revise(), AdaptiveTree())


class Auto(Strategy):
    """Compute-optimal by difficulty (Snell et al., arXiv 2408.03314): pilots, then the least cost of pass.

    The pilots are drafts as any others, and the first ones of the strategy that goes on.
    """

    kind: Literal["auto"] = "auto"
    pilots: Count = 3
    candidates: tuple[Candidate, ...] = ()
    """To choose from. If empty, `Direct` (the pilots will do) and `Vote`; with a judge `Direct`, `BestOf`, `Revise` and
    `AdaptiveTree`."""
    enough: Share = 0.9
    """Candidates that pass so much less often than the best one aren't chosen, however cheap a pass by them is."""
    judged: bool = False
    """Whether there is a judge; see `informed`."""
    experience: tuple[Experience, ...] = ()
    """What is known of past runs; see `informed`."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        labels = [candidate.label for candidate in self.candidates]
        if twice := {label for label in labels if labels.count(label) > 1}:
            raise ValueError(f"experience is kept by name, so candidates must differ in it: {', '.join(sorted(twice))}")
        return self

    @property
    def needs_judge(self) -> bool:
        return bool(self.candidates) and all(candidate.needs_judge for candidate in self.candidates)

    @property
    def counts_answers(self) -> bool:
        return not self._judges or any(candidate.counts_answers for candidate in self._fitting)

    @property
    def drafts_at_most(self) -> int:
        return self.pilots + max(candidate.drafts_at_most for candidate in self._fitting)

    def informed(self, *, judged: bool, experience: Sequence[Experience] = ()) -> Self:
        """The same, told by its caller whether there is a judge, and what past runs have shown."""
        return self.model_copy(update={"judged": judged, "experience": tuple(experience)})

    def described(self, state: State) -> str:
        chosen = self._chosen(state)
        return self.label if chosen is None else f"{self.label}({self._difficulty(state)})>{chosen.label}"

    def decide(self, turn: Turn) -> None:
        pilots = _pilots(turn.state)
        if len(pilots) == len(turn.trials):
            if self._judges:
                if any(accepted(trial, 1.0) for trial in pilots):
                    turn.finish(*self.best(turn.state))
                    return
                turn.judge_answers()
            for _ in range(min(turn.places(self.pilots), self.pilots - len(pilots))):
                turn.draft(arm=PILOT, measure=self._measures)
        chosen = self._chosen(turn.state)
        if chosen is not None:
            chosen.decide(turn)

    def best(self, state: State) -> tuple[Trial | None, float | None]:
        chosen = self._chosen(state)
        if chosen is None or chosen.drafts_at_most == 1:
            return super().best(state) if self._judges else Vote().best(state)
        return chosen.best(state)

    @property
    def _judges(self) -> bool:
        return self.judged or self.needs_judge

    @property
    def _measures(self) -> bool:
        """A single pilot has nothing to agree with; and a confident vote may go on from the pilots."""
        return self.pilots == 1 or any(candidate.kind == "confident_vote" for candidate in self.candidates)

    @property
    def _fitting(self) -> Sequence[Candidate]:
        if not self.candidates:
            return _JUDGED if self._judges else _UNJUDGED
        return [candidate for candidate in self.candidates if self._judges or not candidate.needs_judge]

    def _chosen(self, state: State) -> Candidate | None:
        """The strategy that goes on after the pilots; `None` while there are none, or one runs or would do."""
        pilots = _pilots(state)
        if not pilots or any(trial.status in ("drafting", "judging") or accepted(trial, 1.0) for trial in pilots):
            return None
        difficulty = self._difficulty(state)
        return cheapest_pass(self._fitting, difficulty, self.experience, pilots=self.pilots, enough=self.enough)

    def _difficulty(self, state: State) -> Difficulty:
        """By the pilots' mean score; where there is no judge by how far they agree, and how likely they are."""
        pilots = [trial for trial in _pilots(state) if trial.status not in ("lost", "aborted")]
        scores = [trial.score for trial in pilots if trial.score is not None]
        likelihoods = [trial.likelihood for trial in pilots if trial.likelihood is not None]
        ease = fmean(likelihoods) if likelihoods else 1.0
        if scores:
            ease = fmean(scores)
        elif len(pilots) > 1:
            ease *= max(agreeing) / len(pilots) if (agreeing := _agreeing(pilots)) else 0.0
        elif not likelihoods:
            ease = 0.5
        return "easy" if ease > 0.8 else "medium" if ease >= 0.5 else "hard"


def _pilots(state: State) -> Sequence[Trial]:
    return [trial for trial in state.trials if trial.arm == PILOT]


def _agreeing(trials: Sequence[Trial]) -> Sequence[int]:
    answers = [trial.answer for trial in trials if trial.answered]
    return [answers.count(answer) for answer in answers]
