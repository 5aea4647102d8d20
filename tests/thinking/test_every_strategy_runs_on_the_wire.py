"""Each strategy as real runs on a real Temporal server, over the wire of the scripted engine."""

from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

import pytest

from orchestrator.steps import RunStatus
from orchestrator.strategies import (
    AdaptiveTree,
    Agent,
    Auto,
    Beam,
    BestOf,
    ConfidentVote,
    Direct,
    Revise,
    Strategy,
    Vote,
)
from orchestrator.testing import Say, scripted_engine
from orchestrator.testing.replies import Reply
from orchestrator.testing.requests import ScriptedRequest
from tests.bench import Bench, bench, result_of
from tests.programs import thoughts


def _says(*answers: int) -> Callable[[ScriptedRequest], Reply]:
    turn = cycle(answers)
    return lambda _: Say(f"I reckon that it is {next(turn)}.")


def _puzzle(strategy: Strategy, **more: Any) -> dict[str, Any]:
    return {"strategy": strategy.model_dump(mode="json"), **more}


async def _solved(
    temporal: str, url: str, script: Callable[[ScriptedRequest], Reply] | Sequence[Reply], puzzle: dict[str, Any]
) -> Any:
    async with (
        scripted_engine(script) as engine,
        bench([thoughts.app], temporal=temporal, database_url=url, engine=engine.url) as here,
    ):
        run = await here.run("solved", puzzle)
        assert run.status is RunStatus.COMPLETED, run
        await engine.wait_until_idle()
        await _adds_up(here, engine.served)
        return result_of(run)


async def _adds_up(here: Bench, served: Any) -> None:
    """The ledger has what the engine computed, no row is open, and nothing is reserved."""
    rows = await here.charges()
    assert all(row.outcome is not None for row in rows)
    ours = (
        sum(row.prompt_tokens or 0 for row in rows),
        sum(row.cached_tokens or 0 for row in rows),
        sum(row.output_tokens or 0 for row in rows),
    )
    assert ours == (served.prompt_tokens, served.cached_tokens, served.output_tokens)
    (account,) = await here.totals()
    assert (account.reserved_nano, account.reserved_tokens) == (0, 0)
    assert account.spent_nano == sum(row.cost_nano for row in rows)


JUDGED = {"judge": "exact"}


@pytest.mark.parametrize(
    ("puzzle", "answers", "trials", "confident"),
    [
        pytest.param(_puzzle(Direct()), [42], 1, False, id="direct"),
        pytest.param(_puzzle(Vote(at_most=5)), [42, 42, 17, 42, 42], range(3, 6), True, id="vote"),
        pytest.param(_puzzle(BestOf(at_most=4), **JUDGED), [17, 18, 42, 19], range(3, 5), True, id="best of"),
        pytest.param(_puzzle(Revise(at_most=3), **JUDGED), [17, 42], 2, True, id="revise"),
        pytest.param(_puzzle(AdaptiveTree(at_most=6), judge="tool"), [17, 20, 42], 3, True, id="adaptive tree"),
        pytest.param(_puzzle(Auto(pilots=2), **JUDGED), [17, 18, 42], range(3, 9), True, id="auto"),
        pytest.param(_puzzle(Agent()), [42], 1, False, id="agent"),
        pytest.param(_puzzle(Beam(width=2, steps=2), judge="tool"), [17, 42, 41, 42], range(2, 9), True, id="beam"),
    ],
)
async def test_to_the_right_answer(
    temporal_address: str, sqlite_url: str, puzzle: dict[str, Any], answers: list[int], trials: Any, confident: bool
) -> None:
    solved = await _solved(temporal_address, sqlite_url, _says(*answers), puzzle)
    assert solved["value"] == 42
    assert solved["trials"] in (trials if isinstance(trials, range) else [trials])
    assert (solved["confidence"] is not None) is confident


async def test_a_confident_vote_cuts_weak_drafts_off_while_they_stream(temporal_address: str, sqlite_url: str) -> None:
    def script(request: ScriptedRequest) -> Reply:
        weak = request.number > 3
        return Say(
            "long thoughts " * 40 + ("it is 17" if weak else "it is 42"),
            confidence=(12.0, 12.0, 12.0, 2.0) if weak else 12.0,
            tokens_per_second=400,
        )

    strategy = ConfidentVote(warmup=3, at_most=6, window=8, consensus=1.0)
    solved = await _solved(temporal_address, sqlite_url, script, _puzzle(strategy, max_tokens=300))
    assert solved["value"] == 42
    assert solved["receipt"]["usage"]["output"] < 4 * 150
