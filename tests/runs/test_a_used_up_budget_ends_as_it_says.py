"""`finish`, `pause` and `fail`, on real runs; and the limits that the run itself keeps."""

from datetime import timedelta

import pytest
from anyio import fail_after, sleep

from orchestrator.budget import Allowance
from orchestrator.errors import RunHasEnded, UnknownName
from orchestrator.ledger import clear_limit, set_limit
from orchestrator.steps import TOP_UP, RunStatus, TopUp
from orchestrator.testing import CallTool, Say, scripted_engine
from orchestrator.testing.requests import ScriptedRequest
from tests.bench import Bench, bench
from tests.programs import programs


def _reads_until_told(request: ScriptedRequest) -> CallTool | Say:
    if request.last_message.startswith("The budget is used up"):
        return Say("Item 42 is blue.")
    return CallTool("read_page", number=1, size=120)


def _rambles_when_told(request: ScriptedRequest) -> CallTool | Say:
    if request.last_message.startswith("The budget is used up"):
        return Say("word " * 500)
    return CallTool("read_page", number=1, size=40)


async def _until(here: Bench, run_id: str, status: RunStatus) -> None:
    with fail_after(20):
        while await here.runs.status(run_id) is not status:  # noqa: ASYNC110 - nothing in this process knows
            await sleep(0.05)


async def test_finish_answers_with_what_there_is(temporal_address: str, database_url: str) -> None:
    async with (
        scripted_engine(_reads_until_told) as engine,
        bench([programs.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
    ):
        run = await here.run("finishing", {"max_tokens": 40})
        assert run.status is RunStatus.COMPLETED
        assert run.result == "Item 42 is blue."
        (account,) = await here.totals()
        assert 600 * 0.5 < account.spent_tokens <= 600
        rows = await here.charges()
        assert len([row for row in rows if row.kind == "tool"]) >= 1
        before_the_answer = sum(row.prompt_tokens + row.output_tokens for row in rows[:-1] if row.kind == "generate")
        assert before_the_answer <= 600 * 0.7, "the share kept for the answer was kept"


async def test_a_closing_answer_is_cut_to_what_the_reserve_holds(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine(_rambles_when_told) as engine,
        bench([programs.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("finishing", {"max_tokens": 150})
        assert run.status is RunStatus.COMPLETED
        *_, last = engine.requests
        assert last.finish == "length"
        asked = last.sampling_params["max_new_tokens"]
        assert isinstance(asked, int)
        assert 8 <= asked < 150
        (account,) = await here.totals()
        assert account.spent_tokens <= 600


async def test_pause_waits_for_a_top_up_and_goes_on(temporal_address: str, database_url: str) -> None:
    async with (
        scripted_engine(lambda _: Say("yes")) as engine,
        bench([programs.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
    ):
        run_id = await here.start("pausing", {"steps": 6, "max_tokens": 20})
        await _until(here, run_id, RunStatus.PAUSED)
        paused = await here.runs.run(run_id)
        assert paused.waiting == "budget: tokens"
        assert 0 < len(engine.requests) < 6
        done = len(engine.requests)

        await here.runs.top_up(run_id, TopUp(tokens=1))  # too little: it waits again
        await _until(here, run_id, RunStatus.PAUSED)
        assert len(engine.requests) == done

        await here.runs.top_up(run_id, TopUp(tokens=1_000))
        run = await here.runs.wait(run_id)
        assert (run.status, run.waiting, run.result) == (RunStatus.COMPLETED, None, ["yes"] * 6)
        assert len(engine.requests) == 6
        (account,) = await here.totals()
        assert account.limit_tokens == 90 + 1 + 1_000
        assert (account.reserved_tokens, account.reserved_nano) == (0, 0)
        with pytest.raises(RunHasEnded, match="completed"):
            await here.runs.top_up(run_id, TopUp(tokens=1))
        with pytest.raises(UnknownName):
            await here.runs.top_up("nobody", TopUp(tokens=1))


async def test_a_paused_run_outlives_its_workers(temporal_address: str, sqlite_url: str) -> None:
    async with scripted_engine(lambda _: Say("yes")) as engine:
        async with bench([programs.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here:
            run_id = await here.start("pausing", {"steps": 6, "max_tokens": 20})
            await _until(here, run_id, RunStatus.PAUSED)
            here.started.clear()
        async with bench([programs.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here:
            await here.runs.top_up(run_id, TopUp(tokens=1_000))
            run = await here.runs.wait(run_id)
        assert run.result == ["yes"] * 6
        assert len(engine.requests) == 6, "no step was taken twice"


async def test_a_signal_that_is_no_top_up_changes_nothing(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine(lambda _: Say("yes")) as engine,
        bench([programs.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run_id = await here.start("pausing", {"steps": 6, "max_tokens": 20})
        await _until(here, run_id, RunStatus.PAUSED)
        handle = here.client.get_workflow_handle(run_id)
        for nonsense in ({"tokens": -5}, {"usd": "1", "euros": "2"}, {}, "more"):
            await handle.signal(TOP_UP, nonsense)
        await handle.signal(TOP_UP, {"tokens": 1000})
        run = await here.runs.wait(run_id)
        assert run.result == ["yes"] * 6
        (account,) = await here.totals()
        assert account.limit_tokens == 1_090


async def test_fail_names_the_limit_and_the_spend(temporal_address: str, database_url: str) -> None:
    async with (
        scripted_engine(lambda _: Say("yes")) as engine,
        bench([programs.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
    ):
        run = await here.run("failing", {"steps": 5})
        assert run.status is RunStatus.FAILED
        assert run.error is not None
        assert run.error.type == "BudgetExceeded"
        assert "the run's budget of 2 calls (calls) has 2 calls spent or reserved" in run.error.message
        assert len(engine.requests) == 2


async def test_a_step_that_outlasts_the_wall_is_cut_off(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine([Say("never", hold_after_tokens=1)]) as engine,
        bench([programs.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("hurried", "Think long.")
        assert run.error is not None
        assert (run.status, run.error.type) == (RunStatus.FAILED, "BudgetExceeded")
        assert "the run's budget of 2 s (wall)" in run.error.message
        assert run.closed_at is not None
        assert run.closed_at - run.started_at < timedelta(seconds=6)


async def test_time_is_topped_up_too(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine([Say("here")]) as engine,
        bench([programs.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run_id = await here.start("patient", {})
        await _until(here, run_id, RunStatus.PAUSED)
        await here.runs.top_up(run_id, TopUp(wall=timedelta(minutes=1)))
        assert (await here.runs.wait(run_id)).result == ["here"]


async def test_a_tenants_limit_holds_for_its_runs(temporal_address: str, database_url: str) -> None:
    async with (
        scripted_engine(lambda _: Say("yes")) as engine,
        bench([programs.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
    ):
        first = await here.run("think", "before there was a limit")
        await set_limit(here.database, "default", "day", Allowance(tokens=first.receipt.usage.total + 300))
        run = await here.run("converse", {"steps": 20, "max_tokens": 20})
        assert run.error is not None
        assert run.error.type == "BudgetExceeded"
        assert "the limit of tenant 'default' for this day" in run.error.message
        spent = first.receipt.usage.total + run.receipt.usage.total
        assert spent <= first.receipt.usage.total + 300
        assert await clear_limit(here.database, "default", "day")
        assert (await here.run("think", "now")).status is RunStatus.COMPLETED
