"""One draft after another."""

import pytest

from orchestrator.strategies import Draft, Drafted, Finish, Judged, Lost, Revise, State
from tests.strategies.play import Play, answers, play_out, scores


def _revises(values: list[float], **fields: bool | float) -> tuple[list[int | None], Finish | None]:
    """What each draft builds on, and the end, where the drafts score so."""
    play = play_out(
        Revise(at_most=len(values)).model_copy(update=fields),
        lambda draft, _: Drafted(trial=draft.trial, answer=f"{draft.trial}"),
        lambda trial: scores(values[trial.number], first=trial.number)[0],
    )
    return [move.builds_on for move in play.moves if isinstance(move, Draft)], play.end


def test_the_best_so_far_is_revised_and_the_best_is_taken() -> None:
    assert _revises([0.5, 0.7, 0.2, 0.6]) == ([None, 0, 1, 1], Finish(trial=1, confidence=0.7))


def test_of_equals_the_later_one_is_revised() -> None:
    assert _revises([0.0, 0.0, 0.0]) == ([None, 0, 1], Finish(trial=0, confidence=0.0))


def test_a_single_conversation_goes_on_from_its_last_word() -> None:
    assert _revises([0.5, 0.7, 0.2], from_best=False) == ([None, 0, 1], Finish(trial=2, confidence=0.2))
    assert not Revise(from_best=False).throws_away
    assert Revise().throws_away


def test_it_ends_once_one_passes() -> None:
    play = Play(Revise())
    play.ask()
    play.tell(*answers("a"))
    assert play.tell(Judged(trial=0, score=0.6, passed=True)) == (Finish(trial=0, confidence=0.6),)
    assert _revises([0.2, 0.9, 0.1], accept=0.8) == ([None, 0], Finish(trial=1, confidence=0.9))


@pytest.mark.parametrize("from_best", [True, False])
def test_one_at_a_time(from_best: bool) -> None:
    play = Play(Revise(from_best=from_best))
    assert len(play.drafts()) == 1
    assert [move.move for move in play.tell(*answers("a"))] == ["judge"]
    (revision,) = play.tell(*scores(0.0))
    assert isinstance(revision, Draft)
    assert (revision.how, revision.builds_on) == ("revise", 0)


def test_a_draft_that_was_lost_is_made_again_from_where_it_began() -> None:
    def answer(draft: Draft, _: State) -> Drafted | Lost:
        return Lost(trial=draft.trial) if draft.trial in (0, 2) else Drafted(trial=draft.trial, answer="a")

    play = play_out(Revise(at_most=4), answer, lambda trial: scores(0.1, first=trial.number)[0])
    drafts = [(move.how, move.builds_on) for move in play.moves if isinstance(move, Draft)]
    assert drafts == [("afresh", None), ("afresh", None), ("revise", 1), ("revise", 1)]
