"""Widths worked out by hand, and those that the authors' own code gives (REBASE, arXiv 2408.00724)."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.strategies import Beam, Draft, Drafted, Finish, Judge, Judged, Lost, Move
from orchestrator.strategies.beam import shared_out
from tests.strategies.play import Play, answers, play_out, scores


@pytest.mark.parametrize(
    ("width", "ranked", "temperature", "shares"),
    [
        (4, [0.5, 0.5], 0.2, [2, 2]),
        (3, [0.7, 0.7, 0.7], 0.2, [1, 1, 1]),
        # e^0 = 1, e^-1 = 0.368, e^-2 = 0.135: of 1.503 the best has 5.32 of 8, so 6; then 1.46 of 2, so 2.
        (8, [0.9, 0.7, 0.5], 0.2, [6, 2, 0]),
        # Warmer: e^-0.2 = 0.819, e^-0.4 = 0.670 of 2.489: 3.21, so 4; then 2.2 of 4, so 3; then 1.
        (8, [0.9, 0.7, 0.5], 1.0, [4, 3, 1]),
        # e^-0.7 = 0.497 six times: of 3.979 the best has 2.3 of 9, so 3; the six that are equal have one each.
        (9, [0.9, *[0.2] * 6], 1.0, [3, 1, 1, 1, 1, 1, 1]),
        (5, [1.0, 0.0], 0.01, [5, 0]),
        (1, [0.3, 0.2], 0.2, [1, 0]),
        (0, [0.3], 0.2, [0]),
        (-1, [0.3], 0.2, [0]),
        (3, [], 0.2, []),
    ],
)
def test_a_width_is_shared_out_by_the_softmax_from_the_best_down(
    width: int, ranked: Sequence[float], temperature: float, shares: Sequence[int]
) -> None:
    assert shared_out(width, ranked, temperature) == shares


@given(
    width=st.integers(0, 64),
    ranked=st.lists(st.floats(0, 1), min_size=1, max_size=20).map(lambda scores: sorted(scores, reverse=True)),
    temperature=st.floats(0.01, 10),
)
def test_all_of_it_is_shared_out_and_better_ones_get_no_less(
    width: int, ranked: Sequence[float], temperature: float
) -> None:
    shares = shared_out(width, ranked, temperature)
    assert sum(shares) == width
    assert min(shares) >= 0
    assert all(better >= worse - 1 for better, worse in pairwise(shares))


def _parents(*moves: Move) -> list[int | None]:
    return [move.builds_on for move in moves if isinstance(move, Draft)]


def test_each_level_is_judged_and_shared_out_once_it_is_done() -> None:
    play = Play(Beam(width=4, parallel=4, temperature=0.2))
    assert _parents(*play.ask()) == [None] * 4
    steps = [Drafted(trial=number, answer=None) for number in range(4)]
    assert play.tell(*steps) == tuple(Judge(trial=number) for number in range(4))
    assert not play.tell(*scores(0.5, 0.7, 0.1)), "the fourth belongs to the level too"
    moves = play.tell(Judged(trial=3, score=0.7))
    # Of 4: e^0 = 1 twice, e^-1 = 0.368, e^-3 = 0.05, so 1.65 of 4, up to 2; then 1.41 of 2, up to 2.
    assert _parents(*moves) == [1, 1, 3, 3]
    assert {move.how for move in moves if isinstance(move, Draft)} == {"step"}


def test_a_finished_step_leaves_the_search_narrower_and_the_best_one_is_the_answer() -> None:
    play = Play(Beam(width=3, parallel=3))
    play.ask()
    play.tell(Drafted(trial=0, answer="x"), Drafted(trial=1, answer=None), Lost(trial=2))
    assert _parents(*play.tell(*scores(0.4, 0.9))) == [1, 1]
    play.tell(*answers("y", "z", first=3))
    assert play.tell(*scores(0.2, 0.6, first=3)) == (Finish(trial=4, confidence=0.6),)


def test_it_goes_no_deeper_than_it_may() -> None:
    play = play_out(
        Beam(width=2, steps=3),
        lambda draft, _: Drafted(trial=draft.trial, answer=None),
        lambda trial: scores(0.5, first=trial.number)[0],
    )
    assert play.end == Finish(trial=None)
    assert [move.builds_on for move in play.moves if isinstance(move, Draft)] == [None, None, 0, 1, 2, 3]


def test_an_answer_that_passes_ends_it() -> None:
    play = Play(Beam(width=2, parallel=2))
    play.ask()
    play.tell(*answers("x"))
    assert play.tell(Judged(trial=0, score=0.5, passed=True))[-1] == Finish(trial=0, confidence=0.5)


def test_a_level_is_begun_as_places_are_free() -> None:
    play = Play(Beam(width=4, parallel=2))
    assert _parents(*play.ask()) == [None, None]
    moves = play.tell(Drafted(trial=1, answer=None))
    assert moves[0] == Judge(trial=1)
    assert _parents(*moves) == [None]
