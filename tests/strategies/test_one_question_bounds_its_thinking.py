"""The strategies that ask once say how the engine is to watch the one reply."""

import pytest

from orchestrator.strategies import Agent, Direct, EarlyExit, Finish, Lost, Strategy
from orchestrator.watches import AnswerProbes, ThinkingBounds
from tests.strategies.play import Play, answers


@pytest.mark.parametrize("strategy", [Direct(), Agent(), EarlyExit()])
def test_one_draft_is_the_answer_and_says_nothing_of_how_sure_it_is(strategy: Strategy) -> None:
    play = Play(strategy)
    assert [(draft.trial, draft.how, draft.builds_on) for draft in play.drafts()] == [(0, "afresh", None)]
    assert play.tell(*answers("x")) == (Finish(trial=0),)
    assert not strategy.throws_away


@pytest.mark.parametrize("strategy", [Direct(), Agent(), EarlyExit()])
def test_a_lost_draft_isnt_made_again(strategy: Strategy) -> None:
    play = Play(strategy)
    play.ask()
    assert play.tell(Lost(trial=0)) == (Finish(trial=None),)


def test_thinking_is_bounded_only_where_it_says_so() -> None:
    assert Play(Direct()).drafts()[0].watch is None
    bounded = Direct(thinking_at_most=500, thinking_at_least=100, extensions=1)
    assert Play(bounded).drafts()[0].watch == ThinkingBounds(at_most=500, at_least=100, extensions=1)
    assert Play(Direct(thinking_at_least=100)).drafts()[0].watch == ThinkingBounds(at_least=100)


def test_an_early_exit_probes_for_the_answer() -> None:
    strategy = EarlyExit(every=32, agree=2, max_tokens=8, probe="So:")
    assert Play(strategy).drafts()[0].watch == AnswerProbes(every=32, agree=2, max_tokens=8, probe="So:")


def test_an_agent_sees_what_it_may_still_spend() -> None:
    assert Play(Agent()).drafts()[0].shows_budget
    assert not Play(Direct()).drafts()[0].shows_budget
