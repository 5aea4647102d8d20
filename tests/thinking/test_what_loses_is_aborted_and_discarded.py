"""Losers end at once, and what they cost is on the bill as discarded: as much as the engine made of them."""

from typing import Any

from orchestrator.steps import RunStatus
from orchestrator.strategies import BestOf, Revise, Strategy, Vote
from orchestrator.testing import Say, ScriptedEngine, scripted_engine
from orchestrator.testing.replies import Reply
from orchestrator.testing.requests import ScriptedRequest
from tests.bench import Bench, bench, result_of
from tests.programs import thoughts


def _puzzle(strategy: Strategy, **more: Any) -> dict[str, Any]:
    return {"strategy": strategy.model_dump(mode="json"), **more}


async def _outcomes(here: Bench) -> dict[str, tuple[int, int]]:
    """Prompt and output tokens by outcome, of the engine's calls."""
    totals: dict[str, tuple[int, int]] = {}
    for row in await here.charges():
        if row.kind == "generate":
            prompt, output = totals.get(row.outcome, (0, 0))
            totals[row.outcome] = prompt + (row.prompt_tokens or 0), output + (row.output_tokens or 0)
    return {outcome: total for outcome, total in totals.items() if total != (0, 0)}


def _made(engine: ScriptedEngine, *numbers: int) -> tuple[int, int]:
    records = [record for record in engine.requests if record.request.number in numbers]
    return sum(record.prompt_tokens for record in records), sum(record.output_tokens for record in records)


async def test_a_race_is_over_when_one_has_passed(temporal_address: str, database_url: str) -> None:
    def script(request: ScriptedRequest) -> Reply:
        if request.number == 1:
            return Say("It is 17.")
        if request.number == 2:
            return Say("Well, it is 42.", tokens_per_second=40)
        return Say("word " * 400 + "43", tokens_per_second=40)

    async with (
        scripted_engine(script) as engine,
        bench([thoughts.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
    ):
        run = await here.run("solved", _puzzle(BestOf(at_most=4, parallel=4), judge="exact", max_tokens=600))
        assert run.status is RunStatus.COMPLETED
        assert not [record for record in engine.requests if record.finish is None], "the run ends after its losers"
        solved = result_of(run)
        assert solved["value"] == 42
        aborted = [record.request.number for record in engine.requests if record.finish == "abort"]
        assert len(aborted) == 2
        outcomes = await _outcomes(here)
        assert outcomes == {"used": _made(engine, 2), "discarded": _made(engine, 1, *aborted)}
        (account,) = await here.totals()
        assert solved["of_the_run"] == solved["receipt"]
        assert solved["receipt"]["usage"]["output"] == engine.served.output_tokens
        rows = await here.charges()
        waste = sum(row.cost_nano for row in rows if row.outcome != "used")
        assert round(float(solved["receipt"]["waste"]) * 1e9) == waste > 0
        assert account.spent_nano == round(float(solved["receipt"]["cost"]) * 1e9)


async def test_votes_for_the_answer_are_used_and_those_against_it_discarded(
    temporal_address: str, sqlite_url: str
) -> None:
    answers = iter([42, 17, 42, 42, 42, 42])
    async with (
        scripted_engine(lambda _: Say(f"It is {next(answers)}.")) as engine,
        bench([thoughts.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("solved", _puzzle(Vote(at_most=4, confidence=None)))
        assert result_of(run)["value"] == 42
        against = [record.request.number for record in engine.requests if "17" in record.output]
        outcomes = await _outcomes(here)
        assert outcomes["discarded"] == _made(engine, *against)
        assert set(outcomes) == {"used", "discarded"}


async def test_what_an_answer_builds_on_is_used(temporal_address: str, sqlite_url: str) -> None:
    answers = iter([17, 42])
    async with (
        scripted_engine(lambda _: Say(f"It is {next(answers)}.")) as engine,
        bench([thoughts.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("solved", _puzzle(Revise(at_most=2), judge="exact"))
        assert result_of(run)["value"] == 42
        assert "17 isn't it." in engine.requests[1].prompt
        assert set(await _outcomes(here)) == {"used"}


async def test_a_cancelled_run_leaves_nothing_behind(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine(lambda _: Say("word " * 400, hold_after_tokens=5)) as engine,
        bench([thoughts.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run_id = await here.start("solved", _puzzle(BestOf(at_most=4, parallel=4), judge="exact", max_tokens=600))
        await engine.wait_until_held(4)
        await here.runs.cancel(run_id)
        run = await here.runs.wait(run_id)
        assert run.status is RunStatus.CANCELLED
        assert not [record for record in engine.requests if record.finish is None]
        assert set(await _outcomes(here)) == {"cancelled"}
