"""How the tree decides; see also how it compares with treequest's."""

from collections.abc import Sequence

import pytest

from orchestrator.strategies import AdaptiveTree, Draft, Drafted, Finish, Judge, Judged, Lost, Room, State, Trial
from tests.strategies.play import Play, answers, scores


def _begun(*trials: Trial, seeds: int = 400, strategy: AdaptiveTree | None = None) -> Sequence[Draft]:
    """The next draft after these trials, for many seeds."""
    drafts = list[Draft]()
    for seed in range(seeds):
        _, (move, *_) = (strategy or AdaptiveTree(accept=None)).ask(State(seed=seed, trials=trials), Room())
        assert isinstance(move, Draft)
        drafts.append(move)
    return drafts


def _judged(number: int, score: float | None, builds_on: int | None = None, arm: str = "") -> Trial:
    return Trial(number=number, builds_on=builds_on, arm=arm, status="judged", answer="x", score=score)


def test_the_first_draft_is_a_fresh_one_and_is_judged() -> None:
    play = Play(AdaptiveTree())
    (draft,) = play.drafts()
    assert (draft.how, draft.builds_on) == ("afresh", None)
    assert play.tell(*answers("a")) == (Judge(trial=0),)


def test_an_answer_that_passes_ends_it_unless_all_drafts_are_to_be_made() -> None:
    play = Play(AdaptiveTree())
    play.ask()
    play.tell(*answers("a"))
    assert play.tell(Judged(trial=0, score=0.7, passed=True)) == (Finish(trial=0, confidence=0.7),)
    play = Play(AdaptiveTree(accept=None))
    play.ask()
    play.tell(*answers("a"))
    assert isinstance(play.tell(*scores(1.0, passed=True))[0], Draft)


def test_after_a_good_answer_wider_is_chosen_as_often_as_the_posteriors_say() -> None:
    # Wider is Beta(3/2, 1/2) after a score of 1, deeper Beta(1/2, 1/2). With x = sin²(u/2), u uniform from 0 to π for
    # the second, and density (1 - cos u)/π for the first: P(first > second) = 1/2 + 2/π².
    fresh = sum(draft.builds_on is None for draft in _begun(_judged(0, 1.0), seeds=4000))
    assert fresh / 4000 == pytest.approx(0.5 + 2 / 3.14159265**2, abs=0.03)


def test_of_two_answers_the_better_is_revised_more_often() -> None:
    revised = [draft.builds_on for draft in _begun(_judged(0, 0.1), _judged(1, 0.9)) if draft.how == "revise"]
    assert revised.count(1) > 3 * revised.count(0) > 0


def test_an_answer_whose_revisions_were_bad_is_left_alone() -> None:
    bad = [_judged(number, 0.0, builds_on=0) for number in range(1, 9)]
    drafts = _begun(_judged(0, 0.6), *bad)
    assert sum(draft.builds_on is None for draft in drafts) > 0.9 * len(drafts)


def test_a_draft_without_an_answer_counts_as_scored_zero_and_a_lost_one_as_nothing() -> None:
    empty = [Trial(number=number, status="drafted") for number in range(1, 9)]
    lost = [Trial(number=number, status="lost") for number in range(1, 9)]
    unjudged = [Trial(number=number, status="judged", answer="y") for number in range(1, 9)]
    few, many, same = (
        sum(draft.builds_on is None for draft in _begun(_judged(0, 0.6), *others)) for others in (empty, lost, unjudged)
    )
    assert few < 100 < many
    assert many == pytest.approx(same, abs=60)


def test_nothing_builds_on_what_has_no_score() -> None:
    trials = (_judged(0, None), Trial(number=1, status="drafted"), Trial(number=2, status="drafting"))
    assert {draft.builds_on for draft in _begun(*trials, strategy=AdaptiveTree(parallel=2))} == {None}


def test_the_model_that_brings_more_is_asked_more() -> None:
    strategy = AdaptiveTree(pools=("small", "large"), accept=None)
    trials = [_judged(number, 0.9 if number % 2 else 0.1, arm=("small", "large")[number % 2]) for number in range(6)]
    pools = [draft.pool for draft in _begun(*trials, strategy=strategy)]
    assert pools.count("large") > 5 * pools.count("small") > 0


def test_some_are_begun_at_once_without_knowing_of_each_other() -> None:
    play = Play(AdaptiveTree(parallel=3, at_most=4))
    assert [draft.builds_on for draft in play.drafts()] == [None] * 3
    assert play.tell(Drafted(trial=1, answer="a")) == (Judge(trial=1),)
    assert len(play.tell(Judged(trial=1, score=0.5))) == 1
    assert not play.tell(Lost(trial=0)), "the fourth was the last"
