"""Confident votes worked out by hand."""

import pytest

from orchestrator.strategies import ConfidentVote, Draft, Drafted, Finish, Vote
from orchestrator.strategies.confident_vote import percentile
from orchestrator.watches import ConfidenceFloor
from tests.strategies.play import Play, confident, play_out


@pytest.mark.parametrize(("share", "expected"), [(0.0, 2), (0.1, 2.6), (0.5, 5), (0.9, 15.8), (1.0, 20)])
def test_percentiles_lie_on_the_line_between_neighbours(share: float, expected: float) -> None:
    # Places 0 to 3 of 2, 4, 6, 20; as numpy.percentile([4, 20, 2, 6], 100 * share).
    assert percentile([4, 20, 2, 6], share) == pytest.approx(expected)
    assert percentile([7], share) == 7


def test_the_first_drafts_run_to_their_end_and_are_measured() -> None:
    play = Play(ConfidentVote(warmup=4, at_least=4, parallel=8, window=32))
    drafts = play.drafts()
    assert len(drafts) == 4
    assert all(draft.measure and draft.watch == ConfidenceFloor(least=0, window=32) for draft in drafts)


def test_the_threshold_is_the_percentile_of_the_weakest_groups() -> None:
    play = Play(ConfidentVote(warmup=4, at_least=4, keep=0.75, window=32))
    play.ask()
    assert not play.tell(*confident(("a", 10), ("b", 6), ("b", 8))), "the fourth sets the threshold too"
    later = play.tell(*confident(("a", 7), first=3))
    # The 25th percentile of 6, 7, 8, 10 is at place 0.75.
    assert later
    assert all(isinstance(draft, Draft) and draft.watch == ConfidenceFloor(least=6.75, window=32) for draft in later)


def test_of_the_first_drafts_those_below_the_threshold_dont_vote() -> None:
    play = Play(ConfidentVote(warmup=4))
    play.ask()
    play.tell(*confident(("b", 3), ("a", 9), ("b", 4)))
    assert play.tell(*confident(("a", 8), first=3)), "threshold 3.3: a has 17 of 21"
    play = Play(ConfidentVote(warmup=4))
    play.ask()
    play.tell(*confident(("b", 3), ("a", 9), ("a", 4)))
    assert play.tell(*confident(("a", 8), first=3)) == (Finish(trial=1, confidence=1.0),)


def test_drafts_that_were_cut_off_dont_vote() -> None:
    def answer(draft: Draft, _: object) -> Drafted:
        if draft.trial < 4:
            return confident(("a" if draft.trial % 2 else "b", 10), first=draft.trial)[0]
        return Drafted(trial=draft.trial, answer="b", whole=False, weakest=11.0, confidence=12.0)

    play = play_out(ConfidentVote(warmup=4, at_most=8), answer)
    assert len(play.state.trials) == 8
    assert play.end == Finish(trial=0, confidence=0.5), "two each, and the other four don't count"


def test_sure_drafts_weigh_more() -> None:
    drafts = [("a", 5.0), ("b", 12.0), ("a", 5.0), (None, 8.0), ("c", 5.0), ("d", 5.0)]
    play = play_out(
        ConfidentVote(warmup=2, at_most=6, keep=1.0),
        lambda draft, _: confident(drafts[draft.trial], first=draft.trial)[0],
    )
    assert play.end is not None
    assert play.end.trial == 1, "one of 12 against two of 5"
    assert play.end.confidence == pytest.approx(12 / 32)


def test_where_nothing_is_measured_it_is_a_plain_vote() -> None:
    texts = "abbabbbbbbbb"
    play = play_out(ConfidentVote(), lambda draft, _: Drafted(trial=draft.trial, answer=texts[draft.trial]))
    watches = [move.watch for move in play.moves if isinstance(move, Draft)]
    assert watches == [ConfidenceFloor(least=0)] * len(watches)
    plain = play_out(Vote(at_most=16), lambda draft, _: Drafted(trial=draft.trial, answer=texts[draft.trial]))
    assert (play.answer, len(play.state.trials)) == (plain.answer, len(plain.state.trials))


def test_where_all_were_cut_off_any_answer_is_better_than_none() -> None:
    play = play_out(
        ConfidentVote(warmup=1, at_most=3), lambda draft, _: Drafted(trial=draft.trial, answer="x", whole=False)
    )
    assert play.answer == "x"
