"""What every paid activity shares: its row in the ledger, its heartbeats, and the outcome that an exception means."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio import activity
from temporalio.exceptions import ApplicationError

from orchestrator.database import Database
from orchestrator.errors import OrchestratorError
from orchestrator.ledger import NOTHING, Attempt, Bound, Ledger, Price, Replayed, Reservation
from orchestrator.ledger.prices import FREE
from orchestrator.steps import RunScope
from orchestrator.usage import Outcome, Receipt, Timings, Usage

__all__ = ["Meter", "PaidStep", "heartbeats", "this_attempt"]

HEARTBEAT = timedelta(milliseconds=500)
SETTLE_PATIENCE = timedelta(seconds=10)


def this_attempt() -> Attempt:
    """The key of the running activity's row."""
    info = activity.info()
    return Attempt(
        workflow_id=info.workflow_id or "",
        run_id=info.workflow_run_id or "",
        activity_id=info.activity_id,
        attempt=info.attempt,
    )


def request_id(attempt: Attempt) -> str:
    """The engine's name for an attempt: 32 hex digits, the same whenever it is asked."""
    words = "|".join(map(str, attempt.columns.values()))
    return hashlib.sha256(words.encode()).hexdigest()[:32]


@asynccontextmanager
async def heartbeats(details: Callable[[], Any] = lambda: None) -> AsyncGenerator[None]:
    """Tells Temporal twice a second that the activity is alive and how far it is.

    Without worker commands on the server, a heartbeat's answer is also the only way to learn of a cancellation.
    """

    async def beat() -> None:
        while True:
            await asyncio.sleep(HEARTBEAT.total_seconds())
            activity.heartbeat(details())

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()


class PaidStep:
    """One attempt with its open row. Set what is known as soon as it is: whatever happens, it goes on the bill."""

    def __init__(self, meter: "Meter", reservation: Reservation | Replayed) -> None:
        self._meter = meter
        self._reservation = reservation
        self.usage = Usage()
        self.timings = Timings()
        self.estimated = False
        self.settled = False

    @property
    def replayed(self) -> Replayed | None:
        """The answer of an earlier attempt that was paid for but never reached Temporal."""
        return self._reservation if isinstance(self._reservation, Replayed) else None

    async def settle(
        self, connection: AsyncConnection, outcome: Outcome, result: Mapping[str, Any] | None = None
    ) -> Receipt:
        """Closes the row within the caller's transaction; the receipt of the step, earlier attempts included."""
        assert isinstance(self._reservation, Reservation)
        receipt = await self._meter.ledger.settle(
            connection, self._reservation, outcome, self.usage, self.timings, result=result, estimated=self.estimated
        )
        self.settled = True
        return receipt


class Meter:
    """Opens and closes rows around the work of activities."""

    def __init__(self, database: Database, ledger: Ledger) -> None:
        self.database = database
        self.ledger = ledger

    @asynccontextmanager
    async def step(
        self,
        scope: RunScope,
        *,
        kind: str,
        name: str,
        bound: Bound = NOTHING,
        price: Price = FREE,
        rid: str | None = None,
        server: str | None = None,
        died: Usage | None = None,
    ) -> AsyncGenerator[PaidStep]:
        """Reserves; the body does the work and settles. If it raises instead, the row is settled by what it raised.

        Raises:
            BudgetExceeded: the run can't afford the step.
        """
        reservation = await self.ledger.reserve(
            this_attempt(), scope, kind=kind, name=name, bound=bound, price=price, rid=rid, server=server, died=died
        )
        step = PaidStep(self, reservation)
        try:
            yield step
        except BaseException as error:
            if not step.settled and step.replayed is None:
                with anyio.move_on_after(SETTLE_PATIENCE.total_seconds(), shield=True):
                    async with self.database.begin(writes_first=True) as connection:
                        await step.settle(connection, outcome_of(error))
            raise


def outcome_of(error: BaseException) -> Outcome:
    """What an attempt that ended in an exception goes down as."""
    if isinstance(error, asyncio.CancelledError):
        details = activity.cancellation_details()
        if details is not None and details.cancel_requested:
            return Outcome.CANCELLED
        return Outcome.RETRIED  # the worker is shutting down, or Temporal gave the attempt up: another one follows
    policy = activity.info().retry_policy
    last = policy is not None and 0 < policy.maximum_attempts <= activity.info().attempt
    final = (isinstance(error, OrchestratorError) and not error.retryable) or (
        isinstance(error, ApplicationError) and error.non_retryable
    )
    return Outcome.FAILED if last or final else Outcome.RETRIED
