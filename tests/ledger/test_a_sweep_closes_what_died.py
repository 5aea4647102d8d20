"""Rows whose worker died and whom nobody followed are closed: from the engine's record, else by an estimate marked so.

What may still be running is left alone; and if a row was closed too early, its attempt corrects it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from anyio import create_task_group

from orchestrator import Usage
from orchestrator.database import Database, now
from orchestrator.ledger import Attempt, Bound, Fact, Facts, Reservation, Sweeper, Swept
from orchestrator.ledger.sweep import GRACE, YOUNG
from orchestrator.steps import RunStatus
from orchestrator.usage import EngineMoments, Outcome
from tests.ledger.books import ENGINE_CALL, PRICE, Books

BOUND = Bound(tokens=94, nano=10_000_000)
SENT = 30
RECORDED = Usage(prompt=30, cached=10, output=9, reasoning=2)
MOMENTS = EngineMoments(entered=10, prefilled=20, finished=30)


@dataclass(frozen=True)
class Recorded:
    """What an engine recorded of a request."""

    usage: Usage = RECORDED
    moments: EngineMoments = MOMENTS


@dataclass
class Records:
    """The engines' records."""

    known: dict[str, Fact] = field(default_factory=dict[str, Fact])
    asked: list[Sequence[str]] = field(default_factory=list[Sequence[str]])
    complete: bool = False
    """Whether the engine recorded all that it computed."""

    async def covers(self, server: str, since: datetime, until: datetime) -> bool:
        return self.complete

    async def find(self, rids: Sequence[str]) -> Mapping[str, Fact]:
        self.asked.append(list(rids))
        return {rid: self.known[rid] for rid in rids if rid in self.known}


def _sweeper(database: Database, over: Iterable[Reservation] = (), facts: Facts | None = None) -> Sweeper:
    ended = {reservation.attempt for reservation in over}

    async def is_over(attempt: Attempt) -> bool:
        return attempt in ended

    return Sweeper(database, is_over=is_over, facts=facts)


async def _sweep(sweeper: Sweeper) -> Swept:
    return await sweeper.sweep(young=timedelta(0))


async def _call(books: Books, step: int = 1, attempt: int = 1, **more: Any) -> Reservation:
    what = replace(ENGINE_CALL, rid=f"{books.scope.run}.{step}.{attempt}", sent_tokens=SENT)
    return await books.reserve(step, attempt, what=what, bound=BOUND, **more)


async def test_what_the_engine_recorded_is_no_estimate(database: Database) -> None:
    books = Books.of_a_new_run(database)
    dead = await _call(books)
    records = Records({f"{books.scope.run}.1.1": Recorded()})
    assert await _sweep(_sweeper(database, [dead], records)) == Swept(from_facts=1)
    (row,) = await books.rows()
    assert (row.outcome, row.estimated, row.cost_nano) == ("abandoned", False, PRICE.cost(RECORDED))
    assert (row.prompt_tokens, row.cached_tokens, row.output_tokens, row.reasoning_tokens) == (30, 10, 9, 2)
    assert (row.entered_us, row.prefilled_us, row.finished_us) == (10, 20, 30)
    await books.check()


async def test_else_it_is_the_prompt_and_the_output_that_such_calls_have(database: Database) -> None:
    books = Books.of_a_new_run(database, workflow="one")
    for step, output in enumerate((4, 5, 9), 10):
        await books.used(step, Usage(prompt=3, output=output))
    for step, outcome in enumerate((Outcome.RETRIED, Outcome.CANCELLED), 20):
        await books.settle(await books.reserve(step), outcome, Usage(prompt=3, output=50))
    other = Books.of_a_new_run(database, workflow="another", tenant=books.scope.tenant)
    await other.used(1, Usage(prompt=3, output=60))
    await books.used(30, Usage(prompt=3, output=60), what=replace(ENGINE_CALL, name="another"))
    dead = await _call(books, 40)
    assert await _sweep(_sweeper(database, [dead])) == Swept(estimated=1)
    row = (await books.rows())[-1]
    assert (row.outcome, row.estimated) == ("abandoned", True)
    assert (row.prompt_tokens, row.cached_tokens, row.output_tokens) == (SENT, None, 6)
    assert row.cost_nano == PRICE.cost(Usage(prompt=SENT, output=6))
    await books.check()


@pytest.mark.parametrize("usual", [None, 1_000], ids=["no such call before", "usually more"])
async def test_an_estimate_is_at_most_what_was_reserved(database: Database, usual: int | None) -> None:
    books = Books.of_a_new_run(database)
    if usual is not None:
        await books.used(1, Usage(prompt=3, output=usual))
    dead = await _call(books, 2)
    await _sweep(_sweeper(database, [dead]))
    row = (await books.rows())[-1]
    assert row.prompt_tokens + row.output_tokens == BOUND.tokens
    await books.check()


async def test_what_is_unknown_stays_unknown(database: Database) -> None:
    """Nothing is sent to a tool that could be counted."""
    books = Books.of_a_new_run(database)
    dead = await books.reserve(what=replace(ENGINE_CALL, kind="tool"), bound=BOUND)
    assert await _sweep(_sweeper(database, [dead])) == Swept(estimated=1)
    (row,) = await books.rows()
    assert (row.outcome, row.estimated) == ("abandoned", True)
    assert (row.prompt_tokens, row.output_tokens, row.gpu_us) == (None, None, None)
    assert (await books.account()).reserved_nano == 0
    await books.check()


async def test_one_that_another_attempt_followed_was_retried(database: Database) -> None:
    books = Books.of_a_new_run(database)
    await _call(books, attempt=2)
    zombie = await _call(books, attempt=1)
    assert await _sweep(_sweeper(database, [zombie])) == Swept(estimated=1, left=1)
    assert [(row.outcome, row.estimated) for row in await books.rows()] == [("retried", True), (None, False)]
    await books.check()


async def test_what_may_be_running_is_left_alone(database: Database) -> None:
    books = Books.of_a_new_run(database)
    await _call(books, 1)
    await _call(books, 2, deadline=now() - GRACE / 2)
    await _call(books, 3, deadline=now() + timedelta(hours=1))
    before = await books.rows(), await books.account()
    assert await _sweep(_sweeper(database)) == Swept(left=3)
    assert (await books.rows(), await books.account()) == before


async def test_what_is_young_isnt_even_asked_about(database: Database) -> None:
    books = Books.of_a_new_run(database)
    dead = await _call(books)
    assert timedelta(0) < YOUNG
    assert await _sweeper(database, [dead]).sweep() == Swept()
    assert await _sweep(_sweeper(database, [dead])) == Swept(estimated=1)


async def test_one_that_is_long_past_its_deadline_is_over_whoever_says_what(database: Database) -> None:
    books = Books.of_a_new_run(database)
    await _call(books, deadline=now() - 2 * GRACE)
    assert await _sweep(_sweeper(database)) == Swept(estimated=1)
    await books.check()


async def test_an_estimate_is_replaced_as_soon_as_the_record_is_there(database: Database) -> None:
    books = Books.of_a_new_run(database)
    dead = await _call(books)
    records = Records()
    sweeper = _sweeper(database, [dead], records)
    assert await _sweep(sweeper) == Swept(estimated=1)
    assert await _sweep(sweeper) == Swept()
    records.known[f"{books.scope.run}.1.1"] = Recorded()
    assert await _sweep(sweeper) == Swept(corrected=1)
    assert await _sweep(sweeper) == Swept()
    assert [row.reason for row in await books.rows()] == [None, "facts"]
    assert (await books.account()).spent_nano == PRICE.cost(RECORDED)
    await books.check()


async def test_one_that_a_complete_record_lacks_was_never_computed(database: Database) -> None:
    books = Books.of_a_new_run(database)
    records = Records()
    sweeper = _sweeper(database, [await _call(books)], records)
    assert await _sweep(sweeper) == Swept(estimated=1)
    records.complete = True
    assert await _sweep(sweeper) == Swept(corrected=1)
    assert await _sweep(sweeper) == Swept()
    account = await books.account()
    assert (account.spent_nano, account.spent_tokens) == (0, 0)
    await books.check()


async def test_so_is_what_the_next_attempt_guessed_of_the_one_before(database: Database) -> None:
    books = Books.of_a_new_run(database)
    await _call(books, attempt=1)
    second = await _call(books, attempt=2, died=Usage(prompt=SENT))
    receipt = await books.settle(second, Outcome.USED, RECORDED, result={})
    assert receipt.estimated
    records = Records({f"{books.scope.run}.1.1": Recorded(), f"{books.scope.run}.1.2": Recorded(Usage(prompt=1))})
    assert await _sweep(_sweeper(database, facts=records)) == Swept(corrected=1)
    assert records.asked == [[f"{books.scope.run}.1.1"]]
    receipt = await books.settle(second, Outcome.USED, RECORDED)
    assert (receipt.usage, receipt.estimated) == (RECORDED + RECORDED, False)
    await books.check()


async def test_one_that_settles_after_all_is_corrected(database: Database) -> None:
    books = Books.of_a_new_run(database)
    alive = await _call(books)
    await _sweep(_sweeper(database, [alive]))
    await books.settle(alive, Outcome.USED, RECORDED, result={"text": "too late"})
    assert [(row.entry, row.reason, row.outcome) for row in await books.rows()] == [
        (0, None, "abandoned"), (1, "late", "abandoned"),
    ]  # fmt: skip
    assert (await books.account()).spent_nano == PRICE.cost(RECORDED)
    await books.check()


async def test_a_sweep_of_a_run_that_has_ended_is_sealed(database: Database) -> None:
    books = Books.of_a_new_run(database)
    dead, child = await _call(books), books.child()
    below = await _call(child)
    for each in (child, books):
        await each.ledger.close_run(each.scope, RunStatus.TERMINATED, None)
    records = Records()
    sweeper = _sweeper(database, [dead, below], records)
    assert await _sweep(sweeper) == Swept(estimated=2)
    records.known |= {f"{each.scope.run}.1.1": Recorded() for each in (books, child)}
    assert await _sweep(sweeper) == Swept(corrected=2)
    for each in (books, child):
        assert [row.seal for row in await each.rows()] == [1, 2]
    await books.check()


async def test_several_who_sweep_at_once_close_and_correct_each_row_once(database: Database) -> None:
    books = Books.of_a_new_run(database)
    dead = [await _call(books, step) for step in range(12)]
    records = Records({f"{books.scope.run}.{step}.1": Recorded() for step in range(4)})
    sweepers = [_sweeper(database, dead, records) for _ in range(4)]
    swept: list[Swept] = []

    async def sweep(sweeper: Sweeper) -> None:
        swept.append(await _sweep(sweeper))

    async def at_once() -> None:
        async with create_task_group() as group:
            for sweeper in sweepers:
                group.start_soon(sweep, sweeper)

    await at_once()
    assert (sum(each.from_facts for each in swept), sum(each.estimated for each in swept)) == (4, 8)
    records.known |= {f"{books.scope.run}.{step}.1": Recorded() for step in range(12)}
    await at_once()
    assert sum(each.corrected for each in swept) == 8
    rows = await books.rows()
    assert len(rows) == 12 + 8
    assert (await books.account()).spent_nano == 12 * PRICE.cost(RECORDED)
    await books.check()


async def test_rows_that_live_long_dont_hide_those_that_died(database: Database) -> None:
    books = Books.of_a_new_run(database)
    for step in range(520):
        await _call(books, step)
    dead = await _call(books, 521)
    assert await _sweep(_sweeper(database, [dead])) == Swept(estimated=1, left=520)
