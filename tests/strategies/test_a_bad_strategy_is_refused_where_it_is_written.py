"""Strategies as values that users write, in Python or as text."""

import json
from collections.abc import Callable
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from orchestrator.errors import InvalidInput, UnknownName
from orchestrator.strategies import (
    STRATEGIES,
    AdaptiveTree,
    AnyStrategy,
    Auto,
    Beam,
    BestOf,
    Cascade,
    ConfidentVote,
    Direct,
    EarlyExit,
    Experience,
    Revise,
    Strategy,
    Vote,
    strategy_from,
)


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (lambda: Vote(at_most=0), "at_most\n  Input should be greater than or equal to 1"),
        (lambda: Vote(parallel=0), "parallel"),
        (lambda: Vote(confidence=1.5), "confidence\n  Input should be less than or equal to 1"),
        (lambda: Vote(confidence=float("nan")), "confidence"),
        (lambda: Vote(window=1), "window"),
        (lambda: BestOf(at_most=-1), "at_most"),
        (lambda: BestOf(accept=2), "accept"),
        (lambda: Revise(at_most=0), "at_most"),
        (lambda: Beam(width=0), "width"),
        (lambda: Beam(temperature=0), "temperature"),
        (lambda: Beam(temperature=float("inf")), "temperature"),
        (lambda: AdaptiveTree(at_most=0), "at_most"),
        (lambda: AdaptiveTree(pools=("a", "a")), "pools must differ: a, a"),
        (lambda: EarlyExit(agree=1), "agree"),
        (lambda: EarlyExit(probe=""), "probe"),
        (lambda: Direct(thinking_at_most=0), "thinking_at_most"),
        (
            lambda: Direct(thinking_at_most=5, thinking_at_least=6),
            r"thinking_at_least \(6\) exceeds thinking_at_most \(5\)",
        ),
        (lambda: ConfidentVote(warmup=9, at_most=8), r"warmup \(9\) exceeds at_most \(8\)"),
        (lambda: ConfidentVote(keep=0), "keep"),
        (lambda: Cascade(pools=("a",)), "pools"),
        (lambda: Cascade(pools=("a", "a")), "pools must differ: a, a"),
        (lambda: Cascade(by="agreement"), "at_most_each of 2 or more"),
        (lambda: Cascade(by="luck"), "by"),  # pyright: ignore[reportArgumentType]
        (lambda: Auto(pilots=0), "pilots"),
        (lambda: Auto(candidates=(Vote(), Vote(at_most=9))), "must differ in it: vote"),
        (lambda: Auto(candidates=(Auto(),)), "candidates"),  # pyright: ignore[reportArgumentType]
        (lambda: Vote(branches=3), "branches\n  Extra inputs are not permitted"),  # pyright: ignore[reportCallIssue]
        (
            lambda: Experience(strategy="vote", difficulty="easy", runs=1, passed=2, cost="0"),  # pyright: ignore[reportArgumentType]
            r"passed \(2\) exceeds runs \(1\)",
        ),
    ],
)
def test_it_says_what_is_wrong(write: Callable[[], Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        write()


def test_a_strategy_is_a_value_that_cant_be_changed() -> None:
    vote = Vote()
    with pytest.raises(ValidationError, match="frozen"):
        vote.at_most = 3  # pyright: ignore[reportAttributeAccessIssue]
    assert Vote(at_most=5) == Vote(at_most=5) != Vote()


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_name_alone_is_the_strategy_with_its_defaults(name: str) -> None:
    assert strategy_from(name) == STRATEGIES[name]()
    assert strategy_from(json.dumps({"kind": name})) == STRATEGIES[name]()
    assert STRATEGIES[name]().label == name


def test_every_strategy_can_be_named() -> None:
    assert set(STRATEGIES.values()) == set(get_args(get_args(AnyStrategy)[0])) == set(Strategy.__subclasses__())


def test_json_has_the_fields() -> None:
    assert strategy_from(' {"kind": "vote", "at_most": 5} ') == Vote(at_most=5)
    nested = strategy_from('{"kind": "auto", "candidates": [{"kind": "vote"}, {"kind": "best_of", "accept": null}]}')
    assert nested == Auto(candidates=(Vote(), BestOf(accept=None)))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("votes", UnknownName, "no strategy is called 'votes': did you mean 'vote'?"),
        ("", UnknownName, "no strategy is called ''"),
        ('{"at_most": 3}', UnknownName, "no strategy is called ''"),
        ('{"kind": 3}', UnknownName, "no strategy is called '3'"),
        ('{"kind": ', InvalidInput, "the input of the strategy is invalid: it is neither a name nor JSON"),
        (
            '{"kind": "vote", "at_most": 0}',
            InvalidInput,
            "strategy 'vote' is invalid: at_most: Input should be greater",
        ),
        ('{"kind": "vote", "n": 1, "parallel": 0}', InvalidInput, "parallel: .*; n: Extra inputs are not permitted"),
        ('{"kind": "confident_vote", "warmup": 99}', InvalidInput, r"invalid: warmup \(99\) exceeds at_most \(16\)$"),
    ],
)
def test_text_that_is_no_strategy_is_refused_with_what_to_do(text: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        strategy_from(text)
