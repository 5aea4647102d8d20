"""Sixty-four branches in two worker processes never pass their run's budget together: at no commit, on PostgreSQL."""

import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from subprocess import PIPE

import anyio
import pytest
from anyio import fail_after
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from sqlalchemy import func, select, text

from orchestrator import Budget
from orchestrator.database import Database
from orchestrator.database.tables import charges
from orchestrator.errors import BudgetExceeded
from tests.ledger import branches
from tests.ledger.books import Books
from tests.ledger.branches import BOUND, MOST

PROCESSES, BRANCHES = 2, 32

WATCH = (
    """
    CREATE FUNCTION passed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.spent_tokens + NEW.reserved_tokens > NEW.limit_tokens
            OR NEW.spent_nano + NEW.reserved_nano > NEW.limit_nano
        THEN RAISE EXCEPTION 'the budget is passed: %', NEW; END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE CONSTRAINT TRIGGER passed AFTER INSERT OR UPDATE ON accounts DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION passed()
    """,
)
"""Looks at every version of an account that is about to be committed; what is refused is rolled back before."""


@asynccontextmanager
async def _worker(url: str, books: Books, first: int) -> AsyncGenerator[tuple[Process, BufferedByteReceiveStream]]:
    scope = books.scope.model_dump_json()
    command = [sys.executable, "-m", branches.__name__, url, scope, str(first), str(BRANCHES)]
    async with await anyio.open_process(command, cwd=Path(__file__).parents[2], stdin=PIPE, stderr=None) as process:
        assert process.stdout is not None
        lines = BufferedByteReceiveStream(process.stdout)
        assert await lines.receive_until(b"\n", 100) == b"ready"
        yield process, lines


async def _sums(database: Database, run: str) -> tuple[int, int]:
    """Tokens and nano-dollars of a run's rows, open ones by what they reserve: one moment's."""
    settled = charges.c.outcome.is_not(None)
    tokens = func.coalesce(charges.c.prompt_tokens, 0) + func.coalesce(charges.c.output_tokens, 0)
    sums = (
        func.sum(tokens).filter(settled), func.sum(charges.c.reserved_tokens).filter(~settled),
        func.sum(charges.c.cost_nano).filter(settled), func.sum(charges.c.reserved_nano).filter(~settled),
    )  # fmt: skip
    async with database.read() as connection:
        row = (await connection.execute(select(*sums).where(charges.c.run == run))).one()
    spent, reserved, spent_nano, reserved_nano = (int(figure or 0) for figure in row)
    return spent + reserved, spent_nano + reserved_nano


@pytest.mark.parametrize(
    "budget",
    [
        Budget(tokens=40 * BOUND.tokens + 30),
        Budget(usd=Decimal(40 * BOUND.nano + 7).scaleb(-9)),
        Budget(tokens=50 * BOUND.tokens, usd=Decimal(30 * BOUND.nano).scaleb(-9), calls=70),
    ],
    ids=["tokens", "usd", "all"],
)
async def test_the_sum_of_reservations_never_passes_it(postgres_url: str, budget: Budget) -> None:
    async with Database.open(postgres_url) as database:
        async with database.begin() as connection:
            for statement in WATCH:
                await connection.execute(text(statement))
        books = Books.of_a_new_run(database, budget=budget)
        taken: list[int] = []
        most = (0, 0)
        async with _worker(postgres_url, books, 0) as one, _worker(postgres_url, books, BRANCHES) as other:
            for process, _ in (one, other):
                assert process.stdin is not None
                await process.stdin.send(b"go\n")
            with fail_after(120):
                while any(process.returncode is None for process, _ in (one, other)):
                    tokens, nano = await _sums(database, books.scope.run)
                    assert tokens <= (budget.tokens or tokens)
                    assert nano <= (budget.nano_usd or nano)
                    most = max(most, (tokens, nano))
            for process, lines in (one, other):
                assert process.returncode == 0
                steps = json.loads(await lines.receive_until(b"\n", 100_000))
                assert steps
                taken += steps
        rows = await books.rows()
        assert most > (0, 0)
        assert sorted(int(row.activity_id) for row in rows) == sorted(taken)
        with pytest.raises(BudgetExceeded):  # they went on until nothing fitted any more
            await books.reserve(10**6, bound=BOUND)
        account = await books.account()
        assert account.spent_tokens == sum(row.prompt_tokens + row.output_tokens for row in rows)
        assert account.spent_nano == sum(row.cost_nano for row in rows)
        assert (account.reserved_nano, account.reserved_tokens) == (0, 0)
        assert account.spent_tokens <= len(rows) * MOST.total
        await books.check()
