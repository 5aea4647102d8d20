"""Watches: what the engine's worker does about a reply while it streams, and that all of it is on the bill."""

from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import JsonValue

from orchestrator.steps import RunStatus
from orchestrator.strategies import BestOf, ConfidentVote, Direct, EarlyExit, Strategy
from orchestrator.testing import Say, ScriptedEngine, scripted_engine
from orchestrator.testing.replies import Reply
from orchestrator.testing.requests import ScriptedRequest
from tests.bench import Bench, bench, result_of
from tests.programs import thoughts


def _puzzle(strategy: Strategy, **more: JsonValue) -> dict[str, JsonValue]:
    return {"strategy": strategy.model_dump(mode="json"), **more}


def _thinks(answers: Sequence[str]) -> Any:
    """Goes on thinking; asked for its answer so far, it gives these in turn."""
    given = iter(answers)

    def script(request: ScriptedRequest) -> Reply:
        if request.prompt.endswith("Final answer:"):
            return Say(f" {next(given)}")
        return Say("and so on " * 100, tokens_per_second=100)

    return script


async def _adds_up(here: Bench, engine: ScriptedEngine) -> Sequence[Any]:
    rows = [row for row in await here.charges() if row.kind == "generate"]
    served = engine.served
    assert sum(row.prompt_tokens for row in rows) == served.prompt_tokens
    assert sum(row.cached_tokens for row in rows) == served.cached_tokens
    assert sum(row.output_tokens for row in rows) == served.output_tokens
    assert {row.rid for row in rows if row.entry == 0} == {record.rid for record in engine.requests}
    return rows


async def test_probes_that_agree_end_it(temporal_address: str, database_url: str) -> None:
    async with (
        scripted_engine(_thinks(["17", "42", "42", "42"])) as engine,
        bench([thoughts.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
    ):
        run = await here.run("solved", _puzzle(EarlyExit(every=10, agree=3), max_tokens=400))
        assert run.status is RunStatus.COMPLETED, run
        solved = result_of(run)
        assert (solved["value"], solved["trials"]) == (42, 1)
        assert solved["text"].endswith("\n\nFinal answer: 42")
        main, *probes = engine.requests
        assert (main.finish, len(probes)) == ("abort", 4)
        assert 40 <= main.output_tokens < 100
        assert all(probe.cached_tokens >= len(main.prompt_ids) for probe in probes), "the prefix was hot"
        rows = await _adds_up(here, engine)
        assert sorted(row.call for row in rows) == [0, 1, 2, 3, 4]
        assert {row.outcome for row in rows} == {"used"}


async def test_probes_that_never_agree_let_it_come_to_its_end(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine(_thinks([str(number) for number in range(99)])) as engine,
        bench([thoughts.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("solved", _puzzle(EarlyExit(every=40, agree=2), output="text", max_tokens=200))
        assert run.status is RunStatus.COMPLETED, run
        assert engine.requests[0].finish in ("stop", "length")
        await _adds_up(here, engine)


async def test_the_conversation_goes_on_from_the_probes_own_tokens(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine(_thinks(["42", "42"])) as engine,
        bench([thoughts.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("solved_and_told", _puzzle(EarlyExit(every=10, agree=2)))
        assert run.status is RunStatus.COMPLETED, run
        *_, probe, last = engine.requests
        assert last.prompt_ids[: len(probe.prompt_ids)] == probe.prompt_ids
        assert "Final answer: 42" in last.prompt


@pytest.mark.parametrize(
    ("strategy", "thoughts_said", "extended"),
    [
        pytest.param(Direct(thinking_at_most=12), "hm " * 100, 0, id="cut off"),
        pytest.param(Direct(thinking_at_least=60, extensions=2), "hm " * 20, 2, id="made to go on"),
        pytest.param(Direct(thinking_at_least=10), "hm " * 20, 0, id="long enough"),
    ],
)
async def test_thinking_has_its_bounds(
    temporal_address: str, sqlite_url: str, strategy: Direct, thoughts_said: str, extended: int
) -> None:
    def script(request: ScriptedRequest) -> Reply:
        return Say("It is 42." if "</think>" in request.prompt else thoughts_said)

    async with (
        scripted_engine(script) as engine,
        bench([thoughts.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("solved", _puzzle(strategy, max_tokens=400))
        assert run.status is RunStatus.COMPLETED, run
        solved = result_of(run)
        assert solved["value"] == 42
        assert solved["text"].count("Wait") == extended
        thinking, *_, answering = engine.requests
        assert len(engine.requests) == 2 + extended
        if strategy.thinking_at_most is not None:
            assert thinking.output_tokens == strategy.thinking_at_most
        assert answering.prompt_ids[: len(thinking.prompt_ids)] == thinking.prompt_ids
        await _adds_up(here, engine)


async def test_a_draft_that_the_model_is_unsure_of_is_cut_off_and_does_not_vote(
    temporal_address: str, sqlite_url: str
) -> None:
    def script(request: ScriptedRequest) -> Reply:
        sure = request.number != 4
        return Say(
            "long thoughts " * 20 + f"it is {42 if sure else 17}",
            confidence=12.0 if sure else (12.0,) * 20 + (3.0,),
            tokens_per_second=200,
        )

    strategy = ConfidentVote(warmup=3, at_most=5, window=8, consensus=1.0, keep=0.9)
    async with (
        scripted_engine(script) as engine,
        bench([thoughts.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("solved", _puzzle(strategy, max_tokens=300))
        assert result_of(run)["value"] == 42
        rows = await _adds_up(here, engine)
        cut = [record for record in engine.requests if record.finish == "abort"]
        if len(engine.requests) > 3:
            assert [record.request.number for record in cut] == [4]
            assert cut[0].output_tokens < 60
            assert {row.outcome for row in rows if row.rid == cut[0].rid and row.entry} == {"used", "discarded"}


async def test_what_branches_share_is_computed_once(temporal_address: str, sqlite_url: str) -> None:
    question = "A long story. " * 400
    async with (
        scripted_engine(lambda _: Say("It is 42.", tokens_per_second=40)) as engine,
        bench([thoughts.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        puzzle = _puzzle(ConfidentVote(warmup=4, at_most=4, parallel=4), question=question, max_tokens=50)
        run = await here.run("solved", puzzle)
        assert run.status is RunStatus.COMPLETED, run
        warm, *drafts = engine.requests
        assert (warm.output_tokens, warm.cached_tokens) == (0, 0)
        assert len(drafts) >= 2
        assert all(draft.cached_tokens >= warm.prompt_tokens - 1 for draft in drafts)
        await _adds_up(here, engine)
        assert result_of(run)["receipt"]["usage"]["prompt"] == engine.served.prompt_tokens


async def test_a_grade_takes_one_forward_pass_on_the_hot_prefix(temporal_address: str, sqlite_url: str) -> None:
    def script(request: ScriptedRequest) -> Reply:
        if "Is that answer right?" in request.last_message:
            right = "It is 42" in request.prompt
            return Say("Yes", probabilities={"Yes": 0.8 if right else 0.1, "No": 0.1 if right else 0.4})
        return Say("It is 42." if request.number == 1 else "It is 17.")

    async with (
        scripted_engine(script) as engine,
        bench([thoughts.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("solved", _puzzle(BestOf(at_most=3, accept=None), judge="graded"))
        assert run.status is RunStatus.COMPLETED, run
        solved = result_of(run)
        assert solved["value"] == 42
        assert solved["confidence"] == pytest.approx(0.8 / 0.9)
        grades = [record for record in engine.requests if "Is that answer right?" in record.prompt]
        assert len(grades) == 3
        assert {record.output_tokens for record in grades} == {1}
        assert all(record.cached_tokens > 0 for record in grades)
        await _adds_up(here, engine)
