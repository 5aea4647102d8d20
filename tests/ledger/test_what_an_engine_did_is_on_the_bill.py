"""Whatever becomes of a call, what the engine did is on the bill: by its own word, else by an estimate marked so.

A row is there before the engine is asked. What it can't have meant is refused and marked, never booked as if it were.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.exceptions import ApplicationError

from orchestrator import Timings, Usage
from orchestrator.activities import EngineActivities, Meter
from orchestrator.database import Database
from orchestrator.engine import Generation
from orchestrator.ledger import Bound
from orchestrator.testing import Break, Fail, Say
from orchestrator.usage import Outcome
from tests.engine.fake_wire import Chunks, chunk, speaking_to
from tests.ledger.books import ENGINE_CALL, PRICE, Books
from tests.ledger.steps import engine_activities, environment, question, scripted_activities

SENT = [11, 12, 13, 14, 15]
STOP = {"type": "stop", "matched": 2}
WHOLE: Mapping[str, object] = {"prompt_tokens": len(SENT), "cached_tokens": 2}


@asynccontextmanager
async def _engine_that_streams(books: Books, *chunks: bytes | Mapping[str, Any]) -> AsyncGenerator[EngineActivities]:
    def answer(request: httpx.Request) -> httpx.Response:
        match request.url.path:
            case "/server_info":
                return httpx.Response(200, json={"model_path": "m"})
            case "/v1/tokenize":
                return httpx.Response(200, json={"tokens": SENT})
            case _:
                stream = Chunks()
                for each in chunks:
                    stream.send(each)  # pyright: ignore[reportArgumentType]
                stream.end()
                return httpx.Response(200, stream=stream)

    async with speaking_to(answer) as engine:
        yield await engine_activities(books, engine)


async def test_the_row_is_there_before_the_engine_is_asked(database: Database) -> None:
    books = Books.of_a_new_run(database)
    async with scripted_activities(books, [Say("here", hold_after_tokens=1)]) as (activities, scripted):
        running = asyncio.create_task(environment(books).run(activities.generate, question(books)))
        await scripted.wait_until_held()
        (row,) = await books.elsewhere().rows()
        sent = scripted.requests[0].request.prompt_tokens
        assert (row.outcome, row.settled_at, row.prompt_tokens, row.cost_nano) == (None, None, None, None)
        assert (row.rid, row.sent_tokens) == (scripted.requests[0].rid, sent)
        most = Usage(prompt=sent, output=64)
        assert (row.reserved_tokens, row.reserved_nano) == (most.total, PRICE.cost(most))
        scripted.release()
        await running
    (row,) = await books.rows()
    assert (row.outcome, row.estimated) == ("used", False)
    await books.check()


async def test_a_cancelled_call_is_paid_for_up_to_its_abort(database: Database) -> None:
    books = Books.of_a_new_run(database)
    async with scripted_activities(books, [Say("word " * 200, hold_after_tokens=11)]) as (activities, scripted):
        here = environment(books)
        running = asyncio.create_task(here.run(activities.generate, question(books)))
        await scripted.wait_until_held()
        here.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        served = scripted.served
    (row,) = await books.rows()
    assert (row.outcome, row.estimated, row.output_tokens) == ("cancelled", False, 11)
    usage = Usage(prompt=served.prompt_tokens, cached=served.cached_tokens, output=11)
    assert row.cost_nano == PRICE.cost(usage) > 0
    await books.check()


@pytest.mark.parametrize("made", [0, 7])
async def test_a_stream_that_breaks_is_an_estimate_of_the_prompt_and_what_came(database: Database, made: int) -> None:
    books = Books.of_a_new_run(database)
    async with scripted_activities(books, [Break(after_tokens=made)]) as (activities, scripted):
        with pytest.raises(ApplicationError, match="broke off"):
            await environment(books).run(activities.generate, question(books))
        sent = scripted.requests[0].request.prompt_tokens
    (row,) = await books.rows()
    assert (row.outcome, row.estimated) == ("retried", True)
    assert (row.prompt_tokens, row.output_tokens) == (sent, made or None)
    assert row.cost_nano >= PRICE.cost(Usage(prompt=sent, cached=row.cached_tokens, output=made)) > 0
    await books.check()


@pytest.mark.parametrize(
    ("reply", "outcome", "estimated"),
    [
        (Fail(status=503), "retried", False),
        (Fail(status=400), "failed", False),
        (Fail(status=503, in_stream=True), "retried", False),
        (Fail(status=504), "retried", True),
    ],
    ids=["overloaded", "rejected", "overloaded, in the stream", "a gateway that gave up"],
)
async def test_a_refusal_costs_nothing_unless_a_gateway_says_it(
    database: Database, reply: Fail, outcome: str, estimated: bool
) -> None:
    books = Books.of_a_new_run(database)
    async with scripted_activities(books, [reply]) as (activities, _):
        with pytest.raises(ApplicationError):
            await environment(books).run(activities.generate, question(books))
    (row,) = await books.rows()
    assert (row.outcome, row.estimated) == (outcome, estimated)
    assert row.prompt_tokens == (row.sent_tokens if estimated else None)
    assert (row.cost_nano > 0) is estimated
    await books.check()


async def test_an_engine_that_is_down_did_nothing(database: Database) -> None:
    books = Books.of_a_new_run(database)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/generate":
            raise httpx.ConnectError("refused")
        return httpx.Response(200, json={"model_path": "m", "tokens": SENT})

    async with speaking_to(answer) as engine:
        activities = await engine_activities(books, engine)
        with pytest.raises(ApplicationError, match="can't be reached"):
            await environment(books).run(activities.generate, question(books))
    (row,) = await books.rows()
    assert (row.outcome, row.estimated, row.prompt_tokens, row.cost_nano) == ("retried", False, None, 0)
    await books.check()


FIRST = chunk("a", [1], **WHOLE)


@pytest.mark.parametrize(
    ("chunks", "problem", "output"),
    [
        ([chunk("a", [1], prompt_tokens=5, cached_tokens=6)], r"cached tokens \(6\) exceed prompt tokens \(5\)", None),
        ([FIRST, chunk("ab", [1, 2], **{**WHOLE, "cached_tokens": 9}, finish_reason=STOP)], r"cached tokens \(9\)", 1),
        ([FIRST, chunk("ab", [1, 2], **WHOLE, reasoning_tokens=3)], r"reasoning tokens \(3\) exceed output", 1),
        ([chunk("a", [1], cached_tokens=2)], r"cached tokens \(2\) exceed prompt tokens \(None\)", None),
        ([chunk("a", [1], prompt_tokens=-5)], "greater than or equal to 0", None),
        ([chunk("a", [1], prompt_tokens="five")], "valid integer", None),
        ([FIRST, chunk("a", [1], made=10**12)], "1,000,000,000,000 output tokens", 1),
        ([FIRST, {"text": "ab"}], "a chunk without 'meta_info'", 1),
        ([FIRST, {"text": "ab", "meta_info": None}], "NoneType", 1),
    ],
)
async def test_what_cant_be_is_refused_and_its_attempt_marked(
    database: Database, chunks: list[Mapping[str, Any]], problem: str, output: int | None
) -> None:
    books = Books.of_a_new_run(database)
    async with _engine_that_streams(books, *chunks) as activities:
        with pytest.raises(ApplicationError, match=problem) as caught:
            await environment(books).run(activities.generate, question(books))
    assert (caught.value.type, caught.value.non_retryable) == ("EngineMisreported", True)
    (row,) = await books.rows()
    assert (row.outcome, row.estimated) == ("failed", True)
    assert (row.prompt_tokens, row.output_tokens) == (len(SENT), output)
    assert row.cost_nano == PRICE.cost(Usage(prompt=len(SENT), cached=2 if output else None, output=output))
    assert (await books.account()).reserved_nano == 0
    await books.check()


moments = st.none() | st.floats(1e9, 2e9, allow_nan=False)


@given(entered=moments, prefilled=moments, finished=moments, queue=st.none() | st.floats(-1e6, 1e6, allow_nan=False))
def test_no_time_is_negative_though_an_engines_clock_goes_back(
    entered: float | None, prefilled: float | None, finished: float | None, queue: float | None
) -> None:
    generation = Generation()
    told: dict[str, Any] = {
        "forward_entry_time": entered,
        "prefill_finished_time": prefilled,
        "request_finished_ts": finished,
    }
    generation.feed(chunk("a", [1], prompt_tokens=3, queue_time=queue, finish_reason=STOP, **told))
    timings: Timings = generation.timings
    assert all(span is None or span.total_seconds() >= 0 for span in (timings.queue, timings.prefill, timings.decode))


async def test_a_settlement_that_came_to_nothing_is_made_again(database: Database) -> None:
    books = Books.of_a_new_run(database)
    meter, usage = Meter(database, books.ledger), Usage(prompt=9, cached=4, output=5)

    async def work() -> None:
        async with meter.step(books.scope, ENGINE_CALL, bound=Bound(tokens=20, calls=1), price=PRICE) as step:
            step.usage = usage
            async with database.begin() as connection:
                await step.settle(connection, Outcome.USED, {"text": "never written"})
                raise ConnectionError("the database went away")

    with pytest.raises(ConnectionError):
        await environment(books).run(work)
    (row,) = await books.rows()
    assert (row.outcome, row.result, row.estimated) == ("retried", None, False)
    assert row.cost_nano == PRICE.cost(usage)
    await books.check()


async def test_an_error_after_settling_takes_nothing_back(database: Database) -> None:
    books = Books.of_a_new_run(database)
    meter = Meter(database, books.ledger)

    async def work() -> None:
        async with meter.step(books.scope, ENGINE_CALL, bound=Bound(tokens=20, calls=1), price=PRICE) as step:
            async with database.begin() as connection:
                await step.settle(connection, Outcome.USED, {"text": "written"})
            raise ConnectionError("the answer got lost on its way")

    with pytest.raises(ConnectionError):
        await environment(books).run(work)
    (row,) = await books.rows()
    assert (row.outcome, row.result) == ("used", {"text": "written"})
    await books.check()
