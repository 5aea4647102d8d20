"""Best of N."""

from orchestrator.strategies import Abort, BestOf, Draft, Drafted, Finish, Judge, Judged, Lost, Room
from tests.strategies.play import Play, answers, play_out, scores


def test_each_answer_is_judged_as_it_comes() -> None:
    play = Play(BestOf(parallel=2))
    assert len(play.drafts()) == 2
    assert play.tell(*answers("a", first=1)) == (Judge(trial=1),)


def test_the_first_that_passes_ends_it_and_the_rest_is_given_up() -> None:
    play = Play(BestOf(at_most=8, parallel=3))
    play.ask()
    play.tell(*answers("a", "b"))
    assert play.tell(Judged(trial=1, score=1.0, passed=True)) == (
        Abort(trial=0),
        Abort(trial=2),
        Finish(trial=1, confidence=1.0),
    )


def test_no_draft_is_begun_while_its_place_is_taken_by_one_that_is_judged() -> None:
    play = Play(BestOf(parallel=1))
    play.ask()
    assert play.tell(*answers("a")) == (Judge(trial=0),)
    (move,) = play.tell(*scores(0.4))
    assert isinstance(move, Draft)


def test_a_draft_without_an_answer_isnt_judged() -> None:
    play = Play(BestOf(at_most=2, parallel=1))
    play.ask()
    (move,) = play.tell(*answers(None))
    assert isinstance(move, Draft)


def test_a_score_wins_only_where_the_judge_cant_say_what_passed() -> None:
    play = Play(BestOf(at_most=2, parallel=2, accept=0.8))
    play.ask()
    play.tell(*answers("a", "b"))
    assert not play.tell(Judged(trial=0, score=0.9, passed=False))
    assert play.tell(Judged(trial=1, score=0.8)) == (Finish(trial=0, confidence=0.9),)


def test_without_a_race_all_are_judged_and_the_best_is_taken() -> None:
    values = [0.2, 1.0, 0.9, 1.0]
    play = play_out(
        BestOf(at_most=4, accept=None),
        lambda draft, _: Drafted(trial=draft.trial, answer=f"{draft.trial}"),
        lambda trial: scores(values[trial.number], first=trial.number)[0],
    )
    assert play.end == Finish(trial=1, confidence=1.0)
    assert sum(move.move == "judge" for move in play.moves) == 4


def test_an_answer_whose_judgement_failed_is_taken_where_there_is_no_other() -> None:
    play = Play(BestOf(at_most=1))
    play.ask()
    play.tell(*answers("a"))
    assert play.tell(Lost(trial=0)) == (Finish(trial=0, confidence=None),)


def test_what_was_drafted_is_still_judged_when_the_budget_is_used_up() -> None:
    play = Play(BestOf(at_most=8, parallel=2))
    play.ask()
    play.room = Room(drafts=0)
    play.tell(*answers("a", "b"))
    assert play.tell(*scores(0.1, 0.3)) == (Finish(trial=1, confidence=0.3),)
