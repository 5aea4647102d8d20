"""What the benchmark of strategies draws and checks."""

from random import Random
from statistics import fmean

import pytest

from benchmarks.answer_distributions import BLOCK, LARGE, SMALL, problems
from benchmarks.curves import Curve, Panel, Point, picture
from benchmarks.game_of_24 import Puzzle, puzzles
from benchmarks.simulated_thinking import Reply, think
from orchestrator.strategies import BestOf, Direct, Draft, Vote
from orchestrator.watches import group_confidence

GIVEN = problems(300)


def test_the_same_draft_is_the_same_reply_and_another_is_another() -> None:
    problem = GIVEN[0]
    assert problem.sample(SMALL, 0) == problem.sample(SMALL, 0)
    assert len({problem.sample(SMALL, draft).tokens for draft in range(8)}) > 4


def test_problems_are_solved_as_often_as_they_say() -> None:
    for model in (SMALL, LARGE):
        solved = fmean(problem.accepts(problem.sample(model, draft).answer) for problem in GIVEN for draft in range(8))
        assert solved == pytest.approx(fmean(problem.solved[model] for problem in GIVEN), abs=0.02)


def test_a_floor_cuts_where_the_watch_would() -> None:
    cut = 0
    for problem in GIVEN[:60]:
        sample = problem.sample(SMALL, 0)
        tokens = [confidence for confidence in sample.confidences for _ in range(BLOCK)][: sample.tokens]
        for least in (10.0, 12.0, 13.0):
            watched = next(
                (
                    place
                    for place in range(64, len(tokens) + 1)
                    if (sure := group_confidence(tokens[:place], 64)) is not None and sure < least
                ),
                None,
            )
            at = sample.cut_at(least, 64)
            cut += watched is not None
            if watched is not None:
                assert at is not None
                assert watched <= at < watched + BLOCK
    assert cut > 20


def test_puzzles_can_be_solved_and_the_check_is_exact() -> None:
    puzzle = Puzzle((1, 5, 5, 5))
    assert puzzle.accepts("1 / 5 = 1/5\n5 - 1/5 = 24/5\n5 * 24/5 = 24")
    assert puzzle.score("1 / 5 = 1/5\n5 - 1/5 = 24/5\n5 - 24/5 = 1/5") == pytest.approx(2 / 3)
    assert puzzle.score("5 + 5 = 10\n10 + 5 = 15\n15 + 1 = 16") == 0, "24 is out of reach after the first step"
    assert puzzle.score("4 * 6 = 24") == 0, "these aren't its numbers"
    assert puzzle.score("nonsense") == 0
    assert not puzzle.accepts("1 / 5 = 1/5\n5 - 1/5 = 24/5")
    assert Puzzle((1, 1, 1, 1)).score("1 + 1 = 2\n1 + 2 = 3\n1 + 3 = 4") == 0
    assert len(set(puzzles(20))) == 20


def test_a_revision_keeps_steps_that_were_right() -> None:
    puzzle, dice = Puzzle((4, 6, 8, 8)), Random(1)
    before = "8 / 8 = 1\n1 * 4 = 4\n4 + 6 = 10"
    revised = [puzzle.propose(dice, before).splitlines() for _ in range(200)]
    kept = sum(lines[:2] == before.splitlines()[:2] for lines in revised)
    assert 120 < kept < 190
    assert all(len(lines) == 3 for lines in revised)


class _Slow:
    """The first draft takes long, the others don't."""

    def reply(self, draft: Draft, number: int, revised: str | None) -> Reply:
        return Reply(answer="right", tokens=100 if number == 0 else 10, price=3)

    def score(self, answer: str) -> float:
        return float(answer == "right")


def test_what_is_given_up_costs_what_it_had_written() -> None:
    raced = think(BestOf(parallel=3), _Slow(), seed=0)
    assert (raced.right, raced.tokens, raced.cost, raced.drafts) == (True, 30, 90, 3)
    assert think(Vote(at_most=3, parallel=3, confidence=None), _Slow(), seed=0).tokens == 120
    assert think(Direct(), _Slow(), seed=0).tokens == 100


def test_a_picture_holds_every_curve() -> None:
    drawn = picture([Panel("a < b", "tokens", [Curve("one", [Point(1, 0.5, 0.4, 0.6), Point(2, 0.7, 0.6, 0.8)])])])
    assert drawn.startswith("<svg ")
    assert "a &lt; b" in drawn
    assert drawn.count("<circle") == 3
