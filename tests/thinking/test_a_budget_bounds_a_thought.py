"""What a thought may spend is never passed, and there is an answer at the end whenever one exists."""

from decimal import Decimal

import pytest
from pydantic import JsonValue

from orchestrator.steps import RunStatus
from orchestrator.strategies import AdaptiveTree, BestOf, Revise, Strategy, Vote
from orchestrator.testing import Say, scripted_engine
from tests.bench import bench, result_of
from tests.programs import thoughts


def _puzzle(strategy: Strategy, **more: JsonValue) -> dict[str, JsonValue]:
    return {"strategy": strategy.model_dump(mode="json"), **more}


EVERY = [
    pytest.param(_puzzle(Vote(at_most=16, confidence=None)), id="vote"),
    pytest.param(_puzzle(BestOf(at_most=16), judge="exact"), id="best of"),
    pytest.param(_puzzle(Revise(at_most=16), judge="exact"), id="revise"),
    pytest.param(_puzzle(AdaptiveTree(at_most=16), judge="exact"), id="adaptive tree"),
]


@pytest.mark.parametrize("puzzle", EVERY)
@pytest.mark.parametrize("tokens", [150, 400, 1_000])
async def test_by_tokens(temporal_address: str, sqlite_url: str, puzzle: dict[str, JsonValue], tokens: int) -> None:
    async with (
        scripted_engine(lambda _: Say("Let me see, it may be 17.")) as engine,
        bench([thoughts.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("solved", {**puzzle, "budget": {"tokens": tokens}})
        assert run.status is RunStatus.COMPLETED, run
        assert result_of(run)["value"] == 17
        served = engine.served
        assert 0 < served.prompt_tokens + served.output_tokens <= tokens


async def test_by_money(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine(lambda _: Say("Let me see, it may be 17.")) as engine,
        bench([thoughts.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        once = result_of(await here.run("solved", _puzzle(Vote(at_most=1))))
        dollars = Decimal(once["receipt"]["cost"]) * 4
        many = _puzzle(Vote(at_most=16, confidence=None), budget={"usd": str(dollars)})
        solved = result_of(await here.run("solved", many))
        assert 2 <= solved["trials"] <= 4
        assert Decimal(solved["receipt"]["cost"]) <= dollars


async def test_by_calls(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine(lambda _: Say("It is 17.")) as engine,
        bench([thoughts.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("solved", _puzzle(Vote(at_most=16, confidence=None), budget={"calls": 3}))
        assert result_of(run)["trials"] == len(engine.requests) == 3


async def test_a_run_that_finishes_answers_with_the_best_there_is(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine(lambda _: Say("It may be 17.")) as engine,
        bench([thoughts.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("solved_cheaply", _puzzle(BestOf(at_most=32), judge="exact", max_tokens=40))
        assert run.status is RunStatus.COMPLETED, run
        assert result_of(run)["value"] == 17
        assert engine.served.prompt_tokens + engine.served.output_tokens <= 700


async def test_a_run_that_finishes_without_an_answer_draws_on_its_reserve(
    temporal_address: str, sqlite_url: str
) -> None:
    async with (
        scripted_engine(lambda request: Say("hm " * 30 if request.number < 8 else "It is 42.")) as engine,
        bench([thoughts.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("solved_cheaply", _puzzle(Revise(at_most=32), judge="exact", max_tokens=60))
        assert run.status in (RunStatus.COMPLETED, RunStatus.FAILED), run
        assert engine.served.prompt_tokens + engine.served.output_tokens <= 700


async def test_nothing_fits_and_the_error_says_so(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine([]) as engine,
        bench([thoughts.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("solved", _puzzle(Vote(at_most=4), budget={"tokens": 20}))
        assert run.status is RunStatus.FAILED
        assert "what is left for this answer of 20 tokens" in str(run.error)
        assert engine.requests == ()
