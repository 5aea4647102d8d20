"""A run's receipt, against totals added up by hand."""

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import update

from orchestrator.database import Database
from orchestrator.database.tables import charges
from orchestrator.errors import DamagedLedger, UnknownName
from orchestrator.ledger import RunReceipt, run_receipt
from orchestrator.steps import RunStatus
from orchestrator.usage import Outcome
from tests.receipts.books import START, Books, sealed

# What the builder's call costs: 60 uncached tokens at 2,000 nano-dollars, 40 cached at 200, 10 generated at 8,000.
CALL = Decimal("0.000208000")


async def receipt(database: Database, run: str, **more: str) -> RunReceipt:
    async with database.snapshot() as connection:
        return await run_receipt(connection, run, **more)


async def test_a_parents_total_has_each_run_below_it_once(database: Database) -> None:
    books = Books()
    for name, parent in (("a", None), ("c", "b"), ("b", "a"), ("d", "a")):
        books.run(name, parent=parent)
    for name, calls in (("a", 1), ("b", 2), ("c", 3), ("d", 4)):
        for step in range(calls):
            books.charge(name, step)
    await books.write(database)
    made = await receipt(database, "a-w")
    assert (made.run_id, made.execution, made.parent) == ("a-w", "a", None)
    assert (made.own.cost, made.receipt.cost) == (CALL, 10 * CALL)
    assert (made.receipt.steps, made.receipt.attempts) == (10, 10)
    assert (made.receipt.usage.prompt, made.receipt.usage.cached, made.receipt.usage.output) == (1_000, 400, 100)
    assert made.receipt.timings.decode == timedelta(microseconds=200_000)
    b, d = made.children
    assert (b.execution, b.parent, b.own.cost, b.receipt.cost) == ("b", "a", 2 * CALL, 5 * CALL)
    assert (d.execution, d.receipt.cost, d.children) == ("d", 4 * CALL, ())
    (c,) = b.children
    assert (c.execution, c.receipt.cost) == ("c", 3 * CALL)
    assert made.account is not None
    assert made.account.spent.usd == 10 * CALL
    assert (await receipt(database, "b")) == b


async def test_failed_attempts_stay_on_the_bill(database: Database) -> None:
    books = Books()
    books.run("a")
    books.charge("a", 1, 1, outcome=Outcome.RETRIED, cached_tokens=None, output_tokens=None, reasoning_tokens=None)
    books.charge("a", 1, 2, outcome=Outcome.RETRIED, estimated=True)
    books.charge("a", 1, 3)
    await books.write(database)
    made = await receipt(database, "a")
    (step,) = made.steps
    assert (step.id, step.kind, step.name, step.execution) == ("1", "generate", "m", "a")
    assert [attempt.attempt for attempt in step.attempts] == [1, 2, 3]
    assert [attempt.outcome for attempt in step.attempts] == [Outcome.RETRIED, Outcome.RETRIED, Outcome.USED]
    assert step.attempts[0].receipt.cost == Decimal("0.000200000")
    assert (step.attempts[0].receipt.usage.prompt, step.attempts[0].receipt.usage.output) == (100, None)
    assert (step.receipt.cost, step.receipt.waste) == (Decimal("0.000616000"), Decimal("0.000408000"))
    assert (step.receipt.steps, step.receipt.attempts, step.receipt.estimated) == (1, 3, True)
    assert made.receipt == step.receipt


async def test_an_attempt_says_all_that_the_ledger_knows(database: Database) -> None:
    books = Books()
    books.run("a")
    row = books.charge("a", 7, gpu_us=1_500_000)
    await books.write(database)
    (attempt,) = (await receipt(database, "a")).steps[0].attempts
    assert (attempt.server, attempt.pool, attempt.rid) == ("http://e", "default", "a-7-1")
    assert (attempt.reserved_at, attempt.settled_at) == (row["reserved_at"], row["settled_at"])
    assert (attempt.reserved.usd, attempt.reserved.tokens) == (Decimal("0.001"), 500)
    assert attempt.prices.model_dump() == {
        "input": 2, "cached": Decimal("0.2"), "output": 8, "gpu": 0, "call": 0, "source": "prices:1",
    }  # fmt: skip
    assert attempt.receipt == attempt.settled
    assert attempt.receipt.gpu == timedelta(seconds=1.5)
    assert attempt.receipt.usage.reasoning == 4
    assert attempt.receipt.timings.queue == timedelta(microseconds=5)


async def test_corrections_are_listed_and_counted(database: Database) -> None:
    books = Books()
    row = books.charge(books.run("a"), 1, outcome=Outcome.ABANDONED, estimated=True)
    books.correct(row, "facts", output_tokens=-3, gpu_us=500, cost_nano=-24_000)
    books.correct(row, "attribution", gpu_us=-100)
    await books.write(database)
    made = await receipt(database, "a")
    (attempt,) = made.steps[0].attempts
    first, second = attempt.corrections
    assert (first.entry, first.reason, first.output, first.prompt) == (1, "facts", -3, None)
    assert (first.cost, first.gpu) == (Decimal("-0.000024000"), timedelta(microseconds=500))
    assert first.at == row["settled_at"] + timedelta(seconds=1)
    assert (second.entry, second.reason, second.cost) == (2, "attribution", 0)
    assert attempt.settled is not None
    assert (attempt.settled.cost, attempt.settled.estimated) == (CALL, True)
    assert (attempt.receipt.cost, attempt.receipt.estimated) == (Decimal("0.000184000"), False)
    assert (made.receipt.cost, made.receipt.waste) == (Decimal("0.000184000"), Decimal("0.000184000"))
    assert (made.receipt.attempts, made.receipt.usage.output) == (1, 7)
    assert made.receipt.gpu == timedelta(microseconds=400)


async def test_a_discarded_answer_is_waste(database: Database) -> None:
    books = Books()
    row = books.charge(books.run("a"))
    figures = {name: row[name] for name in ("prompt_tokens", "cached_tokens", "output_tokens", "cost_nano")}
    books.correct(row, "discard", outcome=Outcome.USED, **{name: -figure for name, figure in figures.items()})
    books.correct(row, "discard", outcome=Outcome.DISCARDED, **figures)
    await books.write(database)
    made = await receipt(database, "a")
    (attempt,) = made.steps[0].attempts
    assert attempt.outcome is Outcome.DISCARDED
    assert [(item.outcome, item.cost) for item in attempt.corrections] == [
        (Outcome.USED, -CALL),
        (Outcome.DISCARDED, CALL),
    ]
    assert (made.receipt.cost, made.receipt.waste, made.receipt.usage.prompt) == (CALL, CALL, 100)


async def test_open_attempts_are_reserved_and_cost_nothing_yet(database: Database) -> None:
    books = Books()
    books.run("a", status=RunStatus.RUNNING, closed_at=None)
    books.charge("a", 1)
    books.opened("a", 2)
    books.limits["a"] = {"limit_nano": 50_000_000, "limit_tokens": None, "limit_gpu_us": 7, "limit_calls": 9}
    await books.write(database)
    made = await receipt(database, "a")
    (attempt,) = made.steps[1].attempts
    assert (attempt.outcome, attempt.settled, attempt.settled_at) == (None, None, None)
    assert attempt.receipt.cost == 0
    assert (made.receipt.cost, made.receipt.attempts, made.receipt.steps) == (CALL, 2, 2)
    assert made.account is not None
    assert made.account.model_dump() == {
        "limit": {"usd": Decimal("0.05"), "tokens": None, "gpu": timedelta(microseconds=7), "calls": 9},
        "reserved": {"usd": Decimal("0.001"), "tokens": 500, "gpu": timedelta(0), "calls": None},
        "spent": {"usd": CALL, "tokens": 110, "gpu": timedelta(0), "calls": 2},
    }


async def test_steps_come_in_the_order_of_executions_and_ids(database: Database) -> None:
    books = Books()
    books.run("b")
    for step in ("10", "9", "2"):
        books.charge("b", step)
    for step in ("11", "1"):
        books.charge("b", step, run_id="a")  # the run was continued as new
    books.charge("b", "9", 1, call=1)
    await books.write(database)
    made = await receipt(database, "b")
    assert [(step.execution, step.id) for step in made.steps] == [
        ("b", "2"), ("b", "9"), ("b", "10"), ("a", "1"), ("a", "11"),
    ]  # fmt: skip
    assert [attempt.call for attempt in made.steps[1].attempts] == [0, 1]


async def test_a_runs_own_facts_are_on_it(database: Database) -> None:
    books = Books()
    books.run("a", status=RunStatus.FAILED, error="KeyError: 'b'", path="generate*2", passed=False, version="7")
    books.charge("a")
    await books.write(database)
    first = await sealed(database, "a")
    assert first is not None
    made = await receipt(database, "a")
    assert (made.status, made.error, made.path, made.passed) == (RunStatus.FAILED, "KeyError: 'b'", "generate*2", False)
    assert (made.workflow, made.version, made.tenant, made.started_at) == ("think", "7", "default", START)
    assert made.seals == (first,)
    assert made.fingerprint == first.head
    assert RunReceipt.model_validate_json(made.model_dump_json()) == made


async def test_of_a_workflow_ids_runs_the_latest_is_meant(database: Database) -> None:
    books = Books()
    for name in ("a", "b"):
        books.charge(books.run(name, workflow_id="same"))
    await books.write(database)
    assert (await receipt(database, "same")).execution == "b"
    assert (await receipt(database, "a")).execution == "a"


async def test_another_tenants_run_is_unknown(database: Database) -> None:
    books = Books()
    books.charge(books.run("a", tenant="mine"))
    books.charge(books.run("b", tenant="theirs"))
    await books.write(database)
    assert (await receipt(database, "a-w", tenant="mine")).run_id == "a-w"
    for name in ("b", "b-w"):
        with pytest.raises(UnknownName) as refused:
            await receipt(database, name, tenant="mine")
        assert "b-w" not in refused.value.known


async def test_rows_that_make_no_receipt(database: Database) -> None:
    books = Books()
    books.charge(books.run("a"))
    await books.write(database)
    async with database.begin() as connection:
        await connection.execute(update(charges).values(outcome="gratis"))
    with pytest.raises(DamagedLedger, match="gratis"):
        await receipt(database, "a")
