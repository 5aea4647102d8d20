"""From cheap to strong."""

from orchestrator.strategies import Abort, Cascade, Draft, Drafted, Finish, Judge, Judged, Lost, Move
from tests.strategies.play import Play, answers, scores


def _pools(*moves: Move) -> list[str | None]:
    return [move.pool for move in moves if isinstance(move, Draft)]


def test_a_likely_answer_of_the_cheap_pool_is_taken() -> None:
    play = Play(Cascade(accept=0.8))
    (draft,) = play.drafts()
    assert (draft.pool, draft.measure) == ("small", True)
    assert play.tell(Drafted(trial=0, answer="a", likelihood=0.8)) == (Finish(trial=0, confidence=0.8),)


def test_an_unlikely_one_is_asked_of_the_next_pool_whose_word_is_final() -> None:
    play = Play(Cascade(pools=("tiny", "small", "large"), accept=0.8))
    play.ask()
    assert _pools(*play.tell(Drafted(trial=0, answer="a", likelihood=0.7))) == ["small"]
    assert _pools(*play.tell(Lost(trial=1))) == ["large"]
    assert play.tell(Drafted(trial=2, answer="b", likelihood=0.1)) == (Finish(trial=2, confidence=0.1),)


def test_an_answer_that_isnt_measured_isnt_likely() -> None:
    play = Play(Cascade())
    play.ask()
    assert _pools(*play.tell(*answers("a"))) == ["large"]


def test_where_the_strong_pool_fails_the_cheap_answer_is_better_than_none() -> None:
    play = Play(Cascade())
    play.ask()
    play.tell(Drafted(trial=0, answer="a", likelihood=0.3))
    assert play.tell(Lost(trial=1)) == (Finish(trial=0, confidence=0.3),)


def test_a_judge_accepts_and_the_best_is_taken_where_it_accepts_none() -> None:
    play = Play(Cascade(by="judge", at_most_each=2, accept=0.9))
    assert _pools(*play.ask()) == ["small"]
    assert play.tell(*answers("a")) == (Judge(trial=0),)
    assert _pools(*play.tell(*scores(0.6))) == ["small"]
    play.tell(*answers("b", first=1))
    assert _pools(*play.tell(*scores(0.1, first=1))) == ["large"]
    play.tell(*answers("c", first=2))
    assert _pools(*play.tell(*scores(0.2, first=2))) == ["large"]
    play.tell(*answers("d", first=3))
    assert play.tell(Judged(trial=3, score=0.5, passed=False)) == (Finish(trial=0, confidence=0.6),)


def test_cheap_drafts_that_agree_are_taken() -> None:
    play = Play(Cascade(by="agreement", at_most_each=3, accept=1.0))
    assert _pools(*play.ask()) == ["small"] * 3
    play.tell(*answers("a", "a"))
    assert play.tell(*answers("a", first=2)) == (Finish(trial=0, confidence=1.0),)


def test_cheap_drafts_that_cant_agree_any_more_are_given_up_for_a_strong_one() -> None:
    play = Play(Cascade(by="agreement", at_most_each=3, accept=1.0))
    play.ask()
    moves = play.tell(*answers("a", "b"))
    assert moves[0] == Abort(trial=2)
    assert _pools(*moves) == ["large"]
    assert not play.tell(*answers("c", first=2)), "it was given up"
    assert play.tell(*answers("b", first=3)) == (Finish(trial=3, confidence=2 / 3),), "two of three drafts say so"


def test_enough_that_agree_end_it_before_all_are_in() -> None:
    play = Play(Cascade(by="agreement", at_most_each=4, accept=0.75))
    play.ask()
    play.tell(*answers("a", "b", "a"))
    assert play.tell(*answers("a", first=3)) == (Finish(trial=0, confidence=3 / 4),)
    play = Play(Cascade(by="agreement", at_most_each=4, accept=0.5))
    play.ask()
    assert play.tell(*answers("a", "a")) == (Abort(trial=2), Abort(trial=3), Finish(trial=0, confidence=1.0))
