"""Ask a cheap model first, and a stronger one only where its answer isn't good enough."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from orchestrator.strategies.machine import State, Strategy, Trial, Turn
from orchestrator.strategies.parameters import Count, Share, accepted
from orchestrator.strategies.votes import Tally

__all__ = ["Cascade"]


class Cascade(Strategy):
    """Pool after pool, from cheap to strong, until an answer is accepted (FrugalGPT, arXiv 2305.05176)."""

    kind: Literal["cascade"] = "cascade"
    pools: Annotated[tuple[str, ...], Field(min_length=2)] = ("small", "large")
    """From cheap to strong. The last one's answer is taken as it is, unless there is a judge."""
    by: Literal["judge", "likelihood", "agreement"] = "likelihood"
    """What an answer is accepted by: its score, its tokens' mean probability, or the share of the pool's drafts that
    agree with it, which says more of a small model than its own likelihoods do. It is also the answer's confidence;
    with `agreement`, of the drafts of all pools."""
    accept: Share = 0.8
    """From where on an answer is accepted; with a judge, where that can't say that it passed."""
    at_most_each: Count = 1
    """Drafts of a pool: one after another until one is accepted, and all at once for `agreement`."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(set(self.pools)) < len(self.pools):
            raise ValueError(f"pools must differ: {', '.join(self.pools)}")
        if self.by == "agreement" and self.at_most_each == 1:
            raise ValueError("one draft can't agree with itself: by='agreement' needs at_most_each of 2 or more")
        return self

    @property
    def needs_judge(self) -> bool:
        return self.by == "judge"

    @property
    def counts_answers(self) -> bool:
        return self.by == "agreement"

    @property
    def drafts_at_most(self) -> int:
        return sum(self._drafts(pool) for pool in self.pools)

    def decide(self, turn: Turn) -> None:
        if self.by == "judge":
            turn.judge_answers()
        for pool in self.pools:
            drafts = [trial for trial in turn.trials if trial.arm == pool]
            if self._accepts(pool, drafts):
                turn.finish(*self.best(turn.state))
                return
            if self._may_accept(pool, drafts):
                self._begin(turn, pool, drafts)
                return
            turn.abort(*(trial for trial in drafts if trial.status in ("drafting", "judging")))

    def _drafts(self, pool: str) -> int:
        return 1 if pool == self.pools[-1] and self.by != "judge" else self.at_most_each

    def _begin(self, turn: Turn, pool: str, drafts: Sequence[Trial]) -> None:
        at_once = self._drafts(pool) if self.by == "agreement" else 1
        places = turn.places(at_once, busy=turn.running)
        for _ in range(min(places, self._drafts(pool) - len(drafts))):
            turn.draft(arm=pool, pool=pool, measure=self.by == "likelihood")

    def _accepts(self, pool: str, drafts: Sequence[Trial]) -> bool:
        if self.by == "judge":
            return any(accepted(trial, self.accept) for trial in drafts)
        if pool == self.pools[-1]:
            return any(trial.answered for trial in drafts)
        if self.by == "agreement":
            ahead = Tally.of(drafts).ahead
            return ahead > 0 and ahead / self._drafts(pool) >= self.accept
        return any(trial.answered and (trial.likelihood or 0) >= self.accept for trial in drafts)

    def _may_accept(self, pool: str, drafts: Sequence[Trial]) -> bool:
        """Whether it is worth waiting for this pool, or asking it again."""
        to_come = self._drafts(pool) - sum(trial.status not in ("drafting", "judging") for trial in drafts)
        if self.by == "agreement" and pool != self.pools[-1]:
            return to_come > 0 and (Tally.of(drafts).ahead + to_come) / self._drafts(pool) >= self.accept
        return to_come > 0

    def best(self, state: State) -> tuple[Trial | None, float | None]:
        if self.by == "judge":
            return super().best(state)
        for pool in reversed(self.pools):
            answered = [trial for trial in state.answered if trial.arm == pool]
            if answered and self.by == "agreement":
                leader = Tally.of(answered).leader
                agree = [trial for trial in state.answered if leader is not None and trial.answer == leader.answer]
                return leader, len(agree) / len(state.answered)
            if answered:
                likeliest = max(answered, key=lambda trial: trial.likelihood or 0)
                return likeliest, likeliest.likelihood
        return super().best(state)
