"""Reading the ledger's rows, and attempts to write them with."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

from sqlalchemy import Row, select

from orchestrator import Budget, Receipt, Timings, Usage
from orchestrator.database import Database
from orchestrator.database.tables import charges, runs
from orchestrator.ledger import NOTHING, Attempt, Bound, Ledger, Price, Replayed, Reservation
from orchestrator.steps import RunScope
from orchestrator.usage import Outcome

__all__ = ["PRICE", "Books", "opened"]

PRICE = Price(input=2_000_000_000, cached=200_000_000, output=8_000_000_000, source="test")
"""2,000, 200 and 8,000 nano-dollars a token."""

_runs = count()


def opened(answer: Reservation | Replayed) -> Reservation:
    assert isinstance(answer, Reservation)
    return answer


@dataclass(kw_only=True)
class Books:
    """One run's ledger."""

    database: Database
    ledger: Ledger
    scope: RunScope

    @classmethod
    def of_a_new_run(cls, database: Database, *, budget: Budget | None = None, ledger: Ledger | None = None) -> "Books":
        scope = RunScope(
            tenant="default",
            workflow="think",
            root=f"run-{next(_runs)}",
            started_at=datetime(2026, 1, 1, tzinfo=UTC),
            budget=budget,
        )
        return cls(database=database, ledger=ledger or Ledger(database), scope=scope)

    def attempt(self, step: int, attempt: int) -> Attempt:
        return Attempt(workflow_id="w", run_id=self.scope.root, activity_id=str(step), attempt=attempt)

    async def ask(
        self,
        step: int = 1,
        attempt: int = 1,
        *,
        bound: Bound = NOTHING,
        price: Price = PRICE,
        died: Usage | None = None,
    ) -> Reservation | Replayed:
        return await self.ledger.reserve(
            self.attempt(step, attempt), self.scope, kind="generate", name="m", bound=bound, price=price, died=died
        )

    async def reserve(self, step: int = 1, attempt: int = 1, **more: Any) -> Reservation:
        return opened(await self.ask(step, attempt, **more))

    async def settle(
        self,
        reservation: Reservation,
        outcome: Outcome = Outcome.USED,
        usage: Usage = Usage(),  # noqa: B008
        timings: Timings = Timings(),  # noqa: B008
        **more: Any,
    ) -> Receipt:
        async with self.database.begin() as connection:
            return await self.ledger.settle(connection, reservation, outcome, usage, timings, **more)

    async def rows(self) -> Sequence[Row[Any]]:
        query = select(charges).where(charges.c.root == self.scope.root)
        async with self.database.read() as connection:
            return (await connection.execute(query.order_by(charges.c.activity_id, charges.c.attempt))).all()

    async def run(self) -> Row[Any]:
        async with self.database.read() as connection:
            return (await connection.execute(select(runs).where(runs.c.id == self.scope.root))).one()

    async def check(self) -> None:
        """The run's totals are the sums of its rows."""
        rows, run = await self.rows(), await self.run()
        settled = [row for row in rows if row.outcome is not None]
        open_rows = [row for row in rows if row.outcome is None]
        assert run.spent_nano == sum(row.cost_nano for row in settled)
        assert run.spent_tokens == sum((row.prompt_tokens or 0) + (row.output_tokens or 0) for row in settled)
        assert run.reserved_nano == sum(row.reserved_nano for row in open_rows)
        assert run.reserved_tokens == sum(row.reserved_tokens for row in open_rows)
