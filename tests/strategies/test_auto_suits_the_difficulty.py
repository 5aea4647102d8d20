"""Pilots, difficulty, and the choice by the cost of a pass."""

from collections.abc import Sequence
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.strategies import (
    AdaptiveTree,
    Auto,
    BestOf,
    Difficulty,
    Direct,
    Drafted,
    Experience,
    Finish,
    Judge,
    Judged,
    Lost,
    Revise,
    Room,
    Strategy,
    Vote,
)
from orchestrator.strategies.expected import cheapest_pass
from tests.strategies.generated import autos, events_for, wanted
from tests.strategies.play import Play, answers, play_out, scores


def _after(auto: Auto, *pilots: Drafted | Lost) -> Play:
    play = Play(auto)
    assert len(play.drafts()) == len(pilots)
    play.tell(*pilots)
    return play


def test_pilots_that_agree_are_the_answer() -> None:
    play = _after(Auto(), *answers("a", "a", "a"))
    assert play.end == Finish(trial=0, confidence=15 / 16)
    assert play.strategy.described(play.state) == "auto(easy)>direct"


def test_where_one_differs_it_goes_on_as_a_vote_of_which_the_pilots_are_the_first() -> None:
    play = _after(Auto(), *answers("b", "a", "a"))
    assert play.strategy.described(play.state) == "auto(medium)>vote"
    votes = len(play.state.trials)
    assert 3 < votes <= 8
    play.tell(*answers(*["a"] * (votes - 3), first=3))
    assert play.answer == "a"
    assert play.strategy.described(play.state) == "auto(medium)>vote"


@pytest.mark.parametrize(
    ("pilots", "difficulty"),
    [
        (answers("a", "b", "c"), "hard"),
        (answers("a", None, "a"), "medium"),
        (answers("a", None, None), "hard"),
        (answers(None, None, None), "hard"),
        ([*answers("a", "a"), Lost(trial=2)], "easy"),
        ([Drafted(trial=number, answer="a", likelihood=0.9) for number in range(3)], "easy"),
        ([Drafted(trial=number, answer="a", likelihood=0.6) for number in range(3)], "medium"),
        ([Drafted(trial=number, answer="a", likelihood=0.3) for number in range(3)], "hard"),
    ],
)
def test_the_difficulty_is_in_how_far_the_pilots_agree_and_how_likely_they_are(
    pilots: Sequence[Drafted | Lost], difficulty: Difficulty
) -> None:
    play = _after(Auto(), *pilots)
    assert play.strategy.described(play.state).startswith(f"auto({difficulty})")


def test_with_a_judge_the_pilots_are_judged_first_and_one_that_passes_ends_it() -> None:
    play = Play(Auto().informed(judged=True))
    play.ask()
    assert play.tell(*answers("a", "b")) == (Judge(trial=0), Judge(trial=1))
    assert play.tell(Judged(trial=1, score=1.0, passed=True))[-1] == Finish(trial=1, confidence=1.0)
    assert play.strategy.described(play.state) == "auto"


@pytest.mark.parametrize(
    ("values", "way"),
    [
        ((0.9, 0.9, 0.8), "auto(easy)>revise"),
        ((0.5, 0.6, 0.5), "auto(medium)>best_of"),
        ((0, 0, 0.5), "auto(hard)>adaptive_tree"),
    ],
)
def test_with_a_judge_the_difficulty_is_in_the_scores(values: Sequence[float], way: str) -> None:
    play = _after(Auto().informed(judged=True), *answers("a", "b", "c"))
    play.tell(*scores(*values))
    assert play.strategy.described(play.state) == way
    assert play.end is None


def test_a_single_pilot_is_measured_since_it_has_nothing_to_agree_with() -> None:
    (draft,) = Play(Auto(pilots=1)).drafts()
    assert draft.measure
    assert not Play(Auto()).drafts()[0].measure
    play = _after(Auto(pilots=1), Drafted(trial=0, answer="a"))
    assert play.strategy.described(play.state).startswith("auto(medium)")


def test_a_budget_for_less_than_the_pilots_makes_do_with_those() -> None:
    play = Play(Auto(), room=Room(drafts=1))
    assert len(play.drafts()) == 1
    play.room = Room(drafts=0)
    play.tell(*answers("a"))
    assert play.answer == "a"


def test_the_pilots_majority_is_the_answer_where_they_will_do() -> None:
    play = _after(Auto(candidates=(Direct(),)), *answers("a", "b", "b"))
    assert play.end == Finish(trial=1, confidence=11 / 16), "two to one"


def test_candidates_that_need_a_judge_arent_chosen_without_one() -> None:
    auto = Auto(candidates=(BestOf(), Vote()))
    assert not auto.needs_judge
    play = play_out(auto, lambda draft, _: Drafted(trial=draft.trial, answer=f"{draft.trial}"))
    assert play.strategy.described(play.state) == "auto(hard)>vote"
    assert Auto(candidates=(BestOf(), Revise())).needs_judge


@given(auto=autos, dice=st.randoms(use_true_random=False))
@settings(deadline=None)
def test_a_choice_once_made_stands(auto: Auto, dice: Random) -> None:
    play = Play(auto)
    play.ask()
    made = set[str]()
    while play.end is None:
        play.tell(events_for(play.state, dice.choice(wanted(play.state)), dice))
        if any(trial.arm != "pilot" for trial in play.state.trials):
            made.add(auto.described(play.state))
    assert len(made) <= 1
    assert made == {auto.described(play.state)} or not made


CANDIDATES: Sequence[Strategy] = (Direct(), BestOf(), Revise(), AdaptiveTree())


def _cheapest(difficulty: Difficulty, *experience: Experience, enough: float = 0.9) -> str:
    return cheapest_pass(CANDIDATES, difficulty, experience, pilots=3, enough=enough).label


def test_what_is_known_overrules_what_is_assumed() -> None:
    assert _cheapest("hard") == "adaptive_tree"
    # 4 assumed runs of 50 % and 96 that never passed: 2 %; best of 8 is assumed to pass 40 %.
    failed = Experience(strategy="adaptive_tree", difficulty="hard", runs=96, passed=0, cost=Decimal(3))
    assert _cheapest("hard", failed) == "best_of"
    assert _cheapest("medium", failed) == "best_of", "of another difficulty"


def test_of_those_that_pass_about_as_often_the_cheaper_is_chosen() -> None:
    dear = Experience(strategy="best_of", difficulty="medium", runs=100, passed=90, cost=Decimal(9))
    cheap = Experience(strategy="adaptive_tree", difficulty="medium", runs=100, passed=90, cost=Decimal(1))
    assert _cheapest("medium", dear, cheap) == "adaptive_tree"


def test_cost_of_pass_alone_prefers_what_is_cheap_and_often_wrong() -> None:
    # 3 drafts of which 50 % pass make 6 for a pass; 6 of which 85 % pass make 7.06; 4 (3, being pilots) of 75 %, 4.
    assert _cheapest("medium", enough=0.0) == "revise"
    assert _cheapest("medium", enough=0.95) == "best_of"
    assert cheapest_pass((Direct(), Vote()), "medium", (), pilots=3, enough=0.0) == Direct()
    assert cheapest_pass((Direct(), Vote()), "medium", (), pilots=3, enough=0.9) == Vote()


def test_the_price_of_a_draft_is_learned_from_what_is_known() -> None:
    # Of best of 8, 100 runs at a dollar: 6 drafts are assumed of each, so a draft costs 1/6 and 3 of them half of it.
    known = Experience(strategy="best_of", difficulty="medium", runs=100, passed=85, cost=Decimal(100))
    assert _cheapest("medium", known, enough=0.8) == "revise"
    # If it were a hundredth of what it is assumed, it would be the cheaper one only if that price were known of both.
    less = Experience(strategy="best_of", difficulty="medium", runs=100, passed=85, cost=Decimal("0.01"))
    more = Experience(strategy="best_of", difficulty="hard", runs=100, passed=40, cost=Decimal(100))
    assert _cheapest("medium", less, more, enough=0.8) == "best_of"
