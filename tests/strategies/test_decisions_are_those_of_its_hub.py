"""The same samples and scores lead to the same decision as in its_hub, where that leaves nothing to chance."""

# It has no type stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Mapping, Sequence
from itertools import count
from random import Random
from typing import Any

import pytest
from its_hub import AbstractLanguageModel, AbstractOutcomeRewardModel, BestOfN, BetaSelfConsistency, SelfConsistency

from orchestrator.strategies import BestOf, Drafted, Judged, Vote
from orchestrator.strategies.votes import posterior
from tests.strategies.play import play_out

Message = dict[str, Any]


class _Says(AbstractLanguageModel):
    """A model that gives these answers, one after another."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts, self.next = texts, count()

    async def agenerate(self, messages: Any, stop: str | None = None, **kwargs: Any) -> Message:
        raise NotImplementedError

    async def agenerate_single(self, messages: Any, stop: str | None = None, **kwargs: Any) -> Message:
        return {"role": "assistant", "content": self.texts[next(self.next)]}


class _Scores(AbstractOutcomeRewardModel):
    """A reward model that knows the answers' scores."""

    def __init__(self, scores: Mapping[str, float]) -> None:
        self.scores = scores

    def score(self, messages: Any, **kwargs: Any) -> float:
        raise NotImplementedError

    async def ascore(self, messages: Any, orchestrator: Any = None, **kwargs: Any) -> list[float]:
        return [self.scores[conversation[-1].content] for conversation in messages]


def _samples(seed: int) -> Sequence[str]:
    dice = Random(seed)
    answers = dice.choices("abcdef", [dice.random() for _ in "abcdef"], k=dice.randint(1, 12))
    return [f"answer {answer}" for answer in answers]


@pytest.mark.parametrize("confidence", [None, 1.0])
def test_a_vote_is_their_self_consistency(confidence: float | None) -> None:
    differ = 0
    for seed in range(60):
        texts = _samples(seed)
        theirs: Any = SelfConsistency().infer(_Says(texts), "?", len(texts), return_response_only=False)
        votes: Mapping[str, int] = theirs.response_counts
        leading = [answer for answer, number in votes.items() if number == max(votes.values())]
        vote = Vote(at_most=len(texts), parallel=3, confidence=confidence)
        ours = play_out(vote, lambda draft, _, texts=texts: Drafted(trial=draft.trial, answer=texts[draft.trial]))
        assert ours.answer in leading, "of equals, theirs is drawn by chance"
        if len(leading) == 1:
            differ += len(votes) > 1
            assert ours.answer == theirs.the_one["content"]
    assert differ > 20, "that is worth comparing"


def test_the_posterior_is_theirs() -> None:
    for ahead in range(25):
        for behind in range(ahead + 1):
            theirs = BetaSelfConsistency.beta_stopping_probability(ahead, behind)
            assert posterior(ahead, behind) == pytest.approx(theirs, abs=1e-12)


def test_the_best_of_n_is_theirs() -> None:
    for seed in range(60):
        texts, dice = _samples(seed), Random(seed)
        scores = {text: dice.choice((0.1, 0.5, 0.5, 0.9)) for text in sorted(set(texts))}
        theirs: Any = BestOfN(_Scores(scores)).infer(_Says(texts), "?", len(texts), return_response_only=False)
        ours = play_out(
            BestOf(at_most=len(texts), parallel=3, accept=None),
            lambda draft, _, texts=texts: Drafted(trial=draft.trial, answer=texts[draft.trial]),
            lambda trial, scores=scores: Judged(trial=trial.number, score=scores[trial.answer or ""]),
        )
        assert ours.end is not None
        assert ours.end.trial == theirs.selected_index
