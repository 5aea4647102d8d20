"""Votes worked out by hand."""

from fractions import Fraction
from math import factorial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.strategies import Abort, Drafted, Finish, Lost, Room, Vote
from orchestrator.strategies.votes import holds, posterior, votes_to_go
from tests.strategies.play import Play, answers, play_out


def _begun(play: Play) -> int:
    return len(play.state.trials)


@pytest.mark.parametrize(
    ("ahead", "behind", "probability"),
    [(0, 0, 1 / 2), (1, 0, 3 / 4), (3, 0, 15 / 16), (4, 0, 31 / 32), (3, 1, 13 / 16), (6, 1, 247 / 256), (5, 5, 1 / 2)],
)
def test_the_posterior_is_the_tail_of_a_fair_coin(ahead: int, behind: int, probability: float) -> None:
    assert posterior(ahead, behind) == probability


@given(st.integers(0, 30), st.integers(0, 30))
def test_the_posterior_is_the_integral_of_the_beta_density_above_one_half(ahead: int, behind: int) -> None:
    # ∫ x^ahead (1-x)^behind dx from 1/2 to 1, the power of (1-x) expanded; over the Beta function.
    whole = Fraction(factorial(ahead) * factorial(behind), factorial(ahead + behind + 1))
    above = Fraction(0)
    for power in range(behind + 1):
        coefficient = Fraction((-1) ** power * factorial(behind), factorial(power) * factorial(behind - power))
        end = ahead + power + 1
        above += coefficient * (1 - Fraction(1, 2**end)) / end
    assert posterior(ahead, behind) == pytest.approx(float(above / whole), abs=1e-12)


@pytest.mark.parametrize(
    ("ahead", "behind", "to_come", "ties", "probability"),
    [
        (1, 0, 0, False, 1),
        (1, 1, 0, False, 0),
        (1, 1, 0, True, 1),
        (1, 0, 1, False, 2 / 3),  # the next one is for the leader with (1+1) / (1+0+2)
        (1, 0, 1, True, 1),
        (2, 0, 2, True, 1),
        (2, 0, 2, False, 9 / 10),  # both against it: 1/4 * 2/5
        (3, 1, 3, False, 13 / 14),  # all three against it: 2*3*4 / 6*7*8
        (3, 1, 4, False, 5 / 6),  # all four, 2*3*4*5 / 6*7*8*9, or three of them, 4 * 4*2*3*4 / 6*7*8*9
    ],
)
def test_whether_a_lead_holds_is_polyas_urn(
    ahead: int, behind: int, to_come: int, ties: bool, probability: float
) -> None:
    assert holds(ahead, behind, to_come, ties=ties) == pytest.approx(probability)


@given(st.integers(0, 12), st.integers(0, 12))
def test_with_very_many_votes_to_come_it_is_the_posterior(ahead: int, behind: int) -> None:
    assert holds(ahead, behind, 3000, ties=True) == pytest.approx(posterior(ahead, behind), abs=0.01)


def test_three_that_agree_settle_a_vote_of_sixteen() -> None:
    assert holds(2, 0, 14, ties=True) == pytest.approx(0.9176, abs=1e-4)
    assert holds(3, 0, 13, ties=True) == pytest.approx(0.9706, abs=1e-4)
    play = Play(Vote(at_most=16))
    assert len(play.drafts()) == 3, "a fourth would be for nothing if these agree"
    assert not play.tell(*answers("a", "a"))
    assert play.tell(*answers("a", first=2)) == (Finish(trial=0, confidence=15 / 16),)


def test_one_that_differs_takes_as_many_more_as_it_needs() -> None:
    assert holds(3, 1, 12, ties=True) < 0.9 < holds(4, 1, 11, ties=True)
    play = Play(Vote(at_most=16))
    play.ask()
    play.tell(*answers("a", "b", "a"))
    assert _begun(play) == 5, "two more, if both are for the leader"
    play.tell(*answers("a", "a", first=3))
    assert play.answer == "a"


def test_where_nothing_settles_it_all_drafts_are_made_and_no_more() -> None:
    play = play_out(Vote(at_most=6), lambda draft, _: Drafted(trial=draft.trial, answer=f"answer {draft.trial}"))
    assert _begun(play) == 6
    assert play.answer == "answer 0", "of equals, the first"
    assert play.end is not None
    assert play.end.confidence == 0.5


def test_where_the_rest_cant_change_it_it_ends() -> None:
    play = Play(Vote(at_most=5, parallel=5, confidence=1.0))
    assert len(play.drafts()) == 3, "three of five are a majority"
    play.tell(*answers("a", "a", "b"))
    assert _begun(play) == 4
    assert play.tell(*answers("b", first=3)), "two each: the last one decides"
    play = Play(Vote(at_most=5, at_least=5, parallel=5))
    assert len(play.drafts()) == 3, "it was to have five votes, but not for nothing"
    assert play.tell(*answers("a", "a", "a"))[-1] == Finish(trial=0, confidence=15 / 16)


def test_what_still_runs_is_given_up_once_a_smaller_budget_settles_it() -> None:
    play = Play(Vote(at_most=16, parallel=16))
    assert len(play.drafts()) == 3
    play.room = Room(drafts=0)
    assert play.tell(*answers("a", "a")) == (Abort(trial=2), Finish(trial=0, confidence=7 / 8)), (
        "a third can't change it"
    )


def test_a_window_that_agrees_ends_it() -> None:
    vote = Vote(at_most=10, parallel=1, confidence=None, window=3)
    play = play_out(vote, lambda draft, _: Drafted(trial=draft.trial, answer="abbbb"[draft.trial]))
    assert (play.answer, _begun(play)) == ("b", 4)


def test_without_a_rule_to_end_by_all_drafts_are_made() -> None:
    play = play_out(Vote(at_most=7, confidence=None), lambda draft, _: Drafted(trial=draft.trial, answer="a"))
    assert _begun(play) == 7


def test_of_equals_the_first_begun_leads_whenever_it_comes_in() -> None:
    play = Play(Vote(at_most=4, confidence=1.0))
    assert len(play.drafts()) == 2, "two each would be for the first"
    assert len(play.tell(Drafted(trial=1, answer="a"))) == 1, "the first isn't in yet, so it takes three"
    play.tell(*answers("b"), *answers("a", first=2))
    play.tell(*answers("b", first=3))
    assert play.answer == "b"


def test_drafts_without_an_answer_dont_vote() -> None:
    texts = (None, "b", None, "b", "a")
    play = play_out(Vote(at_most=5), lambda draft, _: Drafted(trial=draft.trial, answer=texts[draft.trial]))
    assert play.end == Finish(trial=1, confidence=7 / 8), "with two of two, the last one can't change it"
    play = play_out(Vote(at_most=5), lambda draft, _: Lost(trial=draft.trial))
    assert play.end == Finish(trial=None)
    assert _begun(play) == 5


def test_a_busy_engine_is_asked_half_as_much_at_a_time() -> None:
    vote = Vote(at_most=16, parallel=8, confidence=None)
    assert len(Play(vote, room=Room(congestion=0.5)).drafts()) == 8
    assert len(Play(vote, room=Room(congestion=0.6)).drafts()) == 4


def test_fewest_votes_to_go() -> None:
    assert votes_to_go(0, 0, 16, ties=True, confidence=0.9) == 2
    assert votes_to_go(3, 3, 10, ties=True, confidence=1.0) == 5
    assert votes_to_go(1, 0, 3, ties=False, confidence=1.0) == 2
    assert votes_to_go(0, 0, 0, ties=False, confidence=0.5) == 0
