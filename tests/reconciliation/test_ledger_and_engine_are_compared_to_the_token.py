"""The ledger's sums against the engine's counters, stretch by stretch: what differs is found, and nothing else."""

from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.database import Database
from orchestrator.ledger.timeframes import Timeframe
from orchestrator.reconciliation import Reconciliation, reconcile
from tests.reconciliation.counted import SERVER, Books, at

Drifts = tuple[int | None, int | None, int | None]


@pytest.fixture
async def books(database: Database) -> Books:
    return await Books(database).begin()


async def compared(books: Books, period: Timeframe = Timeframe()) -> Sequence[Reconciliation]:  # noqa: B008
    return await reconcile(books.database, period)


def drifts(stretch: Reconciliation) -> Drifts:
    prompt, cached, output = (quantity.drift for quantity in stretch.tokens)
    return prompt, cached, output


def counted(prompt: int, cached: int, output: int, requests: int = 0) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "cached_tokens": cached, "output_tokens": output, "requests": requests}


async def test_calls_of_every_outcome_add_up(books: Books) -> None:
    await books.snapshot(0, **counted(1000, 500, 100, 7))
    for number, outcome in enumerate(("used", "discarded", "retried", "cancelled", "failed", "abandoned")):
        await books.call(10 + number, (50, 20, 10), outcome=outcome)
    await books.call(20, (None, None, 0), outcome="retried")  # refused: nothing was computed
    await books.call(200, (50, 20, 10))  # after the last snapshot
    await books.call(-1, (50, 20, 10))  # before the first
    await books.call(10, (50, 20, 10), server="http://another:1")
    await books.snapshot(30, **counted(1300, 620, 160, 13), aborted=4, retracted_tokens=9)

    (stretch,) = await compared(books)
    assert (stretch.server, stretch.since, stretch.until) == (SERVER, at(0), at(30))
    assert drifts(stretch) == (0, 0, 0)
    assert [quantity.coverage for quantity in stretch.tokens] == [1, 1, 1]
    assert (stretch.requests.ledger, stretch.requests.engine) == (6, 6)
    assert (stretch.drift, stretch.agrees, stretch.final) == (0, True, True)
    assert (stretch.aborted, stretch.retracted_tokens, stretch.open, stretch.estimated) == (4, 9, 0, 0)


async def test_a_call_that_went_past_the_ledger_shows_where_it_was(books: Books) -> None:
    for minute in range(10):
        past = 100 if minute > 5 else 0
        await books.snapshot(60 * minute, **counted(50 * minute + past, 0, 10 * minute + past // 2))
        await books.call(60 * minute + 30, (50, 0, 10))

    before, during, after = await compared(books)
    assert (before.until, during.since, during.until, after.since) == (at(300), at(300), at(360), at(360))
    assert [drifts(stretch) for stretch in (before, during, after)] == [(0, 0, 0), (-100, 0, -50), (0, 0, 0)]
    assert during.prompt.coverage == 50 / 150
    assert during.output.coverage == 10 / 60
    assert during.drift == 100


async def test_what_the_ledger_has_too_much_shows_too(books: Books) -> None:
    await books.snapshot(0, **counted(0, 0, 0))
    await books.call(10, (50, 0, 12))
    await books.snapshot(30, **counted(50, 0, 10))
    (stretch,) = await compared(books)
    assert drifts(stretch) == (0, 0, 2)
    assert (stretch.agrees, stretch.output.coverage) == (False, 1.2)


async def test_a_call_at_an_edge_is_no_drift(books: Books) -> None:
    """It ended while the snapshot was taken, and each side has it in another window."""
    await books.snapshot(0, **counted(0, 0, 0))
    await books.call(29.999, (50, 0, 10))  # not in the snapshot yet
    await books.snapshot(30, **counted(0, 0, 0))
    await books.snapshot(60, **counted(50, 0, 10))
    await books.snapshot(90, **counted(50, 0, 10))
    (stretch,) = await compared(books)
    assert (stretch.since, stretch.until, drifts(stretch)) == (at(0), at(90), (0, 0, 0))


async def test_nor_is_one_that_is_placed_some_windows_off(books: Books) -> None:
    """Nobody knows when it ended, so that it counts where it was reserved."""
    await books.snapshot(0, **counted(0, 0, 0))
    await books.call(None, (50, 0, 10), reserved=10)
    for seconds in (30, 60, 90):
        await books.snapshot(seconds, **counted(0, 0, 0))
    await books.snapshot(120, **counted(50, 0, 10))
    await books.snapshot(150, **counted(50, 0, 10))
    (stretch,) = await compared(books)
    assert (stretch.since, stretch.until, drifts(stretch)) == (at(0), at(150), (0, 0, 0))


async def test_a_call_that_ends_with_a_snapshot_is_in_it(books: Books) -> None:
    await books.snapshot(0, **counted(50, 0, 10))
    await books.call(0, (50, 0, 10))
    await books.call(30, (70, 0, 20))
    await books.snapshot(30, **counted(120, 0, 30))
    (stretch,) = await compared(books)
    assert (stretch.prompt.ledger, drifts(stretch)) == (70, (0, 0, 0))


async def test_a_restart_is_between_two_stretches(books: Books) -> None:
    await books.snapshot(0, **counted(100, 0, 10))
    await books.call(10, (50, 0, 10))
    await books.snapshot(30, **counted(150, 0, 20))
    await books.call(40, (70, 0, 10))  # of which no snapshot tells: the engine was started again
    await books.snapshot(60, boot="two", **counted(20, 0, 0))
    await books.call(70, (60, 0, 10))
    await books.snapshot(90, boot="two", **counted(80, 0, 10))
    first, second = await compared(books)
    assert (first.since, first.until) == (at(0), at(30))
    assert (second.since, second.until) == (at(60), at(90))
    assert drifts(first) == drifts(second) == (0, 0, 0)
    assert (first.prompt.ledger, second.prompt.ledger) == (50, 60)


async def test_what_the_engine_doesnt_expose_is_not_zero(books: Books) -> None:
    await books.snapshot(0, requests=1)
    await books.call(10, (50, 20, 10))
    await books.snapshot(30, requests=2)
    (stretch,) = await compared(books)
    assert drifts(stretch) == (None, None, None)
    assert [quantity.coverage for quantity in stretch.tokens] == [None, None, None]
    assert (stretch.drift, stretch.agrees) == (None, False)


async def test_a_counter_that_appears_had_counted_nothing_before(books: Books) -> None:
    await books.snapshot(0)
    await books.snapshot(30)
    await books.call(40, (50, 0, 10))
    await books.snapshot(60, prompt_tokens=50, output_tokens=10)
    await books.call(70, (50, 49, 10))
    await books.snapshot(90, **counted(100, 49, 20))
    (stretch,) = await compared(books)
    assert drifts(stretch) == (0, 0, 0)
    assert (stretch.since, stretch.agrees) == (at(0), True)


async def test_corrections_are_part_of_their_call(books: Books) -> None:
    await books.snapshot(0, **counted(0, 0, 0, 0))
    estimate = await books.call(None, (60, None, 100), outcome="abandoned", estimated=True, reserved=5)
    await books.correct(estimate, 40, (-10, 20, -93), reason="facts")
    share = await books.call(10, (30, 0, 5))
    await books.correct(share, None, (None, None, None), reason="attribution")
    await books.snapshot(30, **counted(30, 0, 5, 1))
    await books.snapshot(60, **counted(80, 20, 12, 2))
    (stretch,) = await compared(books)
    assert drifts(stretch) == (0, 0, 0)
    assert (stretch.requests.ledger, stretch.requests.engine, stretch.estimated) == (2, 2, 0)
    (early,) = await compared(books, Timeframe(until=at(31)))
    assert (early.prompt.ledger, early.requests.ledger) == (30, 1)


async def test_an_estimate_is_named(books: Books) -> None:
    await books.snapshot(0, **counted(0, 0, 0))
    await books.call(None, (50, None, 64), outcome="abandoned", estimated=True, reserved=5)
    await books.snapshot(30, **counted(50, 0, 11))
    (stretch,) = await compared(books)
    assert (drifts(stretch), stretch.estimated) == ((0, 0, 53), 1)


async def test_an_open_attempt_leaves_all_after_it_unjudged(books: Books) -> None:
    await books.snapshot(0, **counted(0, 0, 0))
    await books.call(10, (50, 0, 10))
    await books.snapshot(30, **counted(50, 0, 10))
    await books.call(None, (None, None, None), outcome=None, reserved=40)
    await books.snapshot(60, **counted(100, 0, 20))
    await books.call(None, (None, None, None), outcome=None, reserved=70)  # later than all
    before, after = await compared(books)
    assert (before.open, before.final, drifts(before)) == (0, True, (0, 0, 0))
    assert (after.open, after.final, drifts(after)) == (1, False, (-50, 0, -10))


async def test_servers_are_apart_and_one_may_be_chosen(books: Books) -> None:
    for server, tokens in ((SERVER, 50), ("http://another:1", 70)):
        await books.snapshot(0, server=server, **counted(0, 0, 0))
        await books.call(10, (tokens, 0, 1), server=server)
        await books.snapshot(30, server=server, **counted(tokens, 0, 1))
    both = await compared(books)
    assert [(stretch.server, drifts(stretch)) for stretch in both] == [
        ("http://another:1", (0, 0, 0)),
        (SERVER, (0, 0, 0)),
    ]
    (one,) = await reconcile(books.database, server=f"{SERVER}/")
    assert one.server == SERVER


async def test_a_period_is_compared_between_its_own_snapshots(books: Books) -> None:
    for minute in range(5):
        await books.snapshot(60 * minute, **counted(50 * minute, 0, 10 * minute))
        await books.call(60 * minute + 30, (50, 0, 10))
    (stretch,) = await compared(books, Timeframe(since=at(50), until=at(200)))
    assert (stretch.since, stretch.until, stretch.prompt.ledger) == (at(60), at(180), 100)
    assert await compared(books, Timeframe(since=at(50), until=at(100))) == []
