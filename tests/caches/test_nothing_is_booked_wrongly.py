"""Many runs that ask the same, on an engine that refuses and breaks off: what is booked is what the engine computed."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from orchestrator.activities import EngineActivities
from orchestrator.budget import Allowance
from orchestrator.database import Database
from orchestrator.engine import SGLang
from orchestrator.ledger import verify
from orchestrator.steps import GenerateResult, RunStatus, Sampling
from orchestrator.testing import CallTool, Chaos, Reply, Say, ScriptedRequest, scripted_engine
from orchestrator.usage import Outcome, Savings
from tests.bench import Bench, bench, result_of
from tests.caches import program
from tests.ledger.books import Books
from tests.ledger.steps import engine_activities, environment, question

RUNS = 24


def _reply(request: ScriptedRequest) -> Reply:
    if "Go on" in request.last_message:
        return CallTool("page", number=request.step)
    return Say(f"Of {request.prompt_tokens} tokens.")


async def _all_holds(here: Bench) -> None:
    async with here.database.snapshot() as connection:
        for run_id in here.started:
            verification = await verify(connection, run_id)
            assert verification.ok, verification


async def test_runs_that_race_on_an_engine_that_fails(temporal_address: str, database_url: str) -> None:
    script = Chaos(seed=3, fail=0.2, break_off=0.2, otherwise=_reply)
    async with (
        scripted_engine(script) as engine,
        bench([program.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
    ):
        asks: list[tuple[str, Any]] = [
            (("conversation", 2), ("kept", {"prompt": f"About {number % 3}?", "times": 2}), ("side_by_side", 2))[
                number % 3
            ]
            for number in range(RUNS)
        ]
        started = [await here.start(workflow, value) for workflow, value in asks]
        runs = await asyncio.gather(*(here.runs.wait(run_id) for run_id in started))
        rows, totals = await here.charges(), await here.totals()
        await _all_holds(here)
        served, computed = engine.served, engine.requests
    assert {run.status for run in runs} == {RunStatus.COMPLETED}
    _the_same_question_has_one_answer(asks, runs)
    # To the token: what was refused was never computed, and what broke off was.
    assert _total(rows, "prompt_tokens") == served.prompt_tokens
    assert _total(rows, "cached_tokens") == served.cached_tokens
    assert _total(rows, "output_tokens") == served.output_tokens
    assert sum(account.spent_nano for account in totals) == _total(rows, "cost_nano")
    assert sum(account.spent_tokens for account in totals) == served.prompt_tokens + served.output_tokens
    assert sum(account.reserved_nano + account.reserved_tokens for account in totals) == 0
    used = Counter((row.run_id, row.activity_id) for row in rows if row.outcome == "used")
    assert set(used.values()) == {1}
    # Paid for once, or twice where an attempt was given up meanwhile; who got it besides saved exactly that.
    answered = Counter(record.prompt for record in computed if record.finish == "stop")
    assert set(answered.values()) <= {1, 2}
    assert sum(answered.values()) < 2 * len(answered)
    kept = [row for row in rows if row.price_source == "cache"]
    paid = {row.cost_nano for row in rows if row.outcome == "used" and row.price_source != "cache"}
    assert kept
    assert {(row.outcome, row.cost_nano, row.prompt_tokens, row.output_tokens) for row in kept} == {
        ("used", 0, None, None)
    }
    assert {row.saved_nano for row in kept} <= paid
    assert sum((run.receipt.saved for run in runs), Savings()).results == len(kept)
    assert program.calls["weigh"] == 1


def _the_same_question_has_one_answer(asks: Sequence[tuple[str, Any]], runs: Sequence[Any]) -> None:
    answers: dict[str, list[Any]] = {}
    for ask, run in zip(asks, runs, strict=True):
        assert answers.setdefault(str(ask), result_of(run)["results"]) == result_of(run)["results"]


def _total(rows: Sequence[Any], name: str) -> int:
    return sum(getattr(row, name) or 0 for row in rows)


async def test_processes_that_race_each_pay_for_what_they_made(database: Database) -> None:
    books = Books.of_a_new_run(database)
    request = question(books, cache=program.HOUR)
    async with scripted_engine([Say("yes", hold_after_tokens=1)] * 2) as engine, AsyncExitStack() as stack:
        workers: list[EngineActivities] = []
        for _ in range(2):  # each with a client, and with locks of its own, as in two processes
            client = await stack.enter_async_context(SGLang.open(engine.url))
            workers.append(await engine_activities(books.elsewhere(), client))

        async def generate(worker: EngineActivities, step: int) -> GenerateResult:
            return await environment(books, step).run(worker.generate, request)

        both = [asyncio.ensure_future(generate(worker, step)) for step, worker in enumerate(workers, 1)]
        await engine.wait_until_held(2)
        engine.release()
        first, second = await asyncio.gather(*both)
        third = await generate(workers[0], 3)
        served = engine.served
    assert first.text == second.text == third.text == "yes"
    assert first.transcript == second.transcript == third.transcript
    rows = await books.rows()
    assert [(row.outcome, row.price_source) for row in rows] == [
        (Outcome.USED, "settings"),
        (Outcome.USED, "settings"),
        (Outcome.USED, "cache"),
    ]
    assert _total(rows, "prompt_tokens") == served.prompt_tokens
    assert _total(rows, "output_tokens") == served.output_tokens
    assert third.receipt.saved.tokens == rows[0].prompt_tokens + rows[0].output_tokens
    await books.check()


async def test_an_answer_that_was_lost_on_its_way_is_not_handed_out_twice(database: Database) -> None:
    books = Books.of_a_new_run(database)
    request = question(books, cache=program.HOUR)
    async with scripted_engine([Say("yes")]) as engine, SGLang.open(engine.url) as client:
        worker = await engine_activities(books, client)
        made = await environment(books, 1).run(worker.generate, request)
        kept = await environment(books, 2).run(worker.generate, request)
        for step, before in ((1, made), (2, kept)):
            again = await environment(books, step, 2).run(worker.generate, request)
            assert again == before
    assert [(row.activity_id, row.attempt) for row in await books.rows()] == [("1", 1), ("2", 1)]
    assert kept.receipt.saved.results == 1
    await books.check()


async def test_a_reply_that_a_limit_cut_short_is_not_kept(database: Database) -> None:
    books = Books.of_a_new_run(database)
    cut = question(books, cache=program.HOUR, limit=Allowance(tokens=60))
    whole = question(books, cache=program.HOUR)
    async with scripted_engine(lambda _: Say("word " * 50)) as engine, SGLang.open(engine.url) as client:
        worker = await engine_activities(books, client)
        short = await environment(books, 1).run(worker.generate, cut)
        long = await environment(books, 2).run(worker.generate, whole)
        again = await environment(books, 3).run(worker.generate, cut)
    assert whole.sampling == Sampling(max_tokens=64)
    assert len(short.text) < len(long.text)
    assert again.text == long.text  # it costs nothing, so no limit cuts it
    assert again.receipt.cost == 0
    await books.check()
