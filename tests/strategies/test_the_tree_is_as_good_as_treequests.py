"""AB-MCTS-A by its authors, on the same trees and the same problems. Theirs draws from NumPy's global generator."""

from collections import Counter
from collections.abc import Callable, Sequence
from math import sqrt
from random import Random
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
from treequest import ABMCTSA

from orchestrator.strategies import AdaptiveTree, BestOf, Draft, Drafted, Judged, Revise, Room, State, Strategy, Trial
from tests.strategies.play import play_out

CALLS = 16
PROBLEMS = 150
GROWN: Sequence[tuple[int | None, float]] = ((None, 0.4), (None, 0.7), (1, 0.8), (1, 0.2), (2, 0.9), (None, 0.1))
"""A tree: what each answer builds on, and its score."""


def _theirs(grown: Sequence[tuple[int | None, float]]) -> tuple[ABMCTSA[Any], Any]:
    tree: ABMCTSA[Any] = ABMCTSA(dist_type="beta")
    state: Any = tree.init_tree()
    state.all_rewards_store["ask"] = []
    for number, (builds_on, score) in enumerate(grown):
        node = state.tree.get_node(-1 if builds_on is None else builds_on)
        state.thompson_states.get_or_create(node, ["ask"])
        trial = state.trial_store.create_trial(node, "ask")
        state = tree.tell(state, trial.trial_id, (number, score))
    return tree, state


def _ours(grown: Sequence[tuple[int | None, float]], seed: int) -> State:
    trials = [
        Trial(number=number, builds_on=builds_on, status="judged", answer=f"{number}", score=score)
        for number, (builds_on, score) in enumerate(grown)
    ]
    return State(seed=seed, trials=tuple(trials))


@pytest.mark.parametrize("size", [1, 3, 6])
def test_of_the_same_tree_each_answer_is_gone_on_from_as_often(size: int) -> None:
    draws = 3000
    np.random.seed(size)
    tree, state = _theirs(GROWN[:size])
    _, trials = tree.ask_batch(state, draws, ["ask"])
    theirs = Counter(None if trial.node_to_expand == -1 else trial.node_to_expand for trial in trials)
    ours = Counter[int | None]()
    for seed in range(draws):
        _, (move, *_) = AdaptiveTree().ask(_ours(GROWN[:size], seed), Room())
        assert isinstance(move, Draft)
        ours[move.builds_on] += 1
    for builds_on in {*theirs, *ours}:
        share = (theirs[builds_on] + ours[builds_on]) / (2 * draws)
        spread = sqrt(2 * share * (1 - share) / draws)
        assert abs(theirs[builds_on] - ours[builds_on]) / draws < 4 * spread, f"from {builds_on}: {theirs} and {ours}"


def test_of_two_models_each_is_asked_as_often() -> None:
    draws, pools = 3000, ("small", "large")
    rewards = {"small": [0.1, 0.5, 0.2], "large": [0.6]}
    np.random.seed(0)
    tree: ABMCTSA[Any] = ABMCTSA(dist_type="beta")
    state: Any = tree.init_tree()
    state.all_rewards_store |= rewards
    _, trials = tree.ask_batch(state, draws, list(pools))
    theirs = Counter(trial.action for trial in trials)
    ours = Counter[str | None]()
    told = [(pool, reward) for pool in pools for reward in rewards[pool]]
    known = tuple(
        Trial(number=number, arm=pool, status="judged", answer="x", score=reward)
        for number, (pool, reward) in enumerate(told)
    )
    for seed in range(draws):
        _, (move, *_) = AdaptiveTree(pools=pools).ask(State(seed=seed, trials=known), Room())
        assert isinstance(move, Draft)
        ours[move.pool] += 1
    share = (theirs["large"] + ours["large"]) / (2 * draws)
    assert 0.6 < share < 0.9
    assert abs(theirs["large"] - ours["large"]) / draws < 4 * sqrt(2 * share * (1 - share) / draws)


Landscape = Callable[[Random, float | None], float]
"""The score of an answer, by that of the one which it revises."""


def _bounded(score: float) -> float:
    return min(1.0, max(0.0, score))


def revising_helps(dice: Random, revised: float | None) -> float:
    return _bounded(dice.gauss(0.3, 0.1) if revised is None else dice.gauss(revised + 0.05, 0.08))


def revising_harms(dice: Random, revised: float | None) -> float:
    return _bounded(dice.gauss(0.4, 0.2) if revised is None else dice.gauss(revised - 0.2, 0.05))


def revising_helps_the_good(dice: Random, revised: float | None) -> float:
    return _bounded(dice.betavariate(1, 2) if revised is None else dice.gauss(revised + 0.15 * (revised - 0.45), 0.08))


def _best_of_theirs(landscape: Landscape, problem: int) -> float:
    np.random.seed(problem)
    dice, best = Random(problem), 0.0
    tree: ABMCTSA[Any] = ABMCTSA(dist_type="beta")
    state: Any = tree.init_tree()
    for _ in range(CALLS):
        state, (trial,) = tree.ask_batch(state, 1, ["ask"])
        score = landscape(dice, trial.parent_state)
        state = tree.tell(state, trial.trial_id, (score, score))
        best = max(best, score)
    return best


def _best_of_ours(landscape: Landscape, problem: int, strategy: Strategy | None = None) -> float:
    dice = Random(problem)

    def draft(move: Draft, state: State) -> Drafted:
        revised = None if move.builds_on is None else state.trials[move.builds_on].score
        return Drafted(trial=move.trial, answer=str(landscape(dice, revised)))

    def judge(trial: Trial) -> Judged:
        return Judged(trial=trial.number, score=float(trial.answer or 0))

    strategy = strategy or AdaptiveTree(at_most=CALLS, accept=None)
    return float(play_out(strategy, draft, judge, seed=problem).answer or 0)


@pytest.mark.parametrize("landscape", [revising_helps, revising_harms, revising_helps_the_good])
def test_on_the_same_problems_it_finds_as_good_answers_with_as_many_calls(landscape: Landscape) -> None:
    theirs = [_best_of_theirs(landscape, problem) for problem in range(PROBLEMS)]
    ours = [_best_of_ours(landscape, problem) for problem in range(PROBLEMS)]
    interval = 2 * sqrt((stdev(theirs) ** 2 + stdev(ours) ** 2) / PROBLEMS)
    assert abs(fmean(ours) - fmean(theirs)) < interval, f"{fmean(ours)} and {fmean(theirs)}"


def test_these_problems_tell_it_from_searches_that_only_widen_or_only_deepen() -> None:
    wider, deeper = BestOf(at_most=CALLS, accept=None), Revise(at_most=CALLS)
    for landscape, wrong in ((revising_helps, wider), (revising_harms, deeper)):
        tree = fmean(_best_of_ours(landscape, problem) for problem in range(PROBLEMS))
        other = fmean(_best_of_ours(landscape, problem, wrong) for problem in range(PROBLEMS))
        assert tree > other + 0.05, f"{landscape.__name__}: {tree} and {other}"
