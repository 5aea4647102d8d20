"""What every paid activity shares: its row in the ledger, its heartbeats, and the outcome that an exception means."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import anyio
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio import activity
from temporalio.exceptions import ApplicationError

from orchestrator.database import Database
from orchestrator.errors import BudgetExceeded, OrchestratorError
from orchestrator.ledger import (
    FREE,
    NOTHING,
    Attempt,
    Bound,
    Kind,
    Ledger,
    Price,
    Replayed,
    Reservation,
    Settlement,
)
from orchestrator.steps import RunScope
from orchestrator.telemetry import SeenStep, Telemetry
from orchestrator.usage import EngineMoments, Outcome, Receipt, Savings, Timings, Usage

__all__ = ["Meter", "PaidStep", "heartbeats", "request_id", "step_name", "this_attempt"]

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
    """The engine's name for a call of an attempt: 32 hex digits, the same whenever it is asked."""
    words = f"{attempt.workflow_id}|{attempt.run_id}|{attempt.activity_id}|{attempt.attempt}"
    if attempt.call:
        words += f"|{attempt.call}"
    return hashlib.sha256(words.encode()).hexdigest()[:32]


def step_name(attempt: Attempt) -> str:
    """How a workflow names a step to the ledger: by the run's execution and the activity in it."""
    return f"{attempt.run_id}:{attempt.activity_id}"


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

    def __init__(self, meter: "Meter", reservation: Reservation | Replayed, seen: SeenStep) -> None:
        self._meter = meter
        self._reservation = reservation
        self.seen = seen
        self.usage = Usage()
        self.timings = Timings()
        self.moments = EngineMoments()
        self.gpu_us: int | None = None
        self.estimated = False
        self.saved: Savings | None = None
        """Of an attempt that a kept result answers."""
        self.settled = False

    @property
    def replayed(self) -> Replayed | None:
        """The answer of an earlier attempt that was paid for but never reached Temporal."""
        return self._reservation if isinstance(self._reservation, Replayed) else None

    @property
    def cost_nano(self) -> int:
        """Of what is known to be used."""
        assert isinstance(self._reservation, Reservation)
        return self._reservation.price.cost(self.usage, self.gpu_us)

    async def settle(
        self, connection: AsyncConnection, outcome: Outcome, result: Mapping[str, Any] | None = None
    ) -> Receipt:
        """Closes the row within the caller's transaction; the receipt of the step, earlier attempts included."""
        assert isinstance(self._reservation, Reservation)
        settlement = Settlement(
            outcome=outcome,
            usage=self.usage,
            timings=self.timings,
            moments=self.moments,
            gpu_us=self.gpu_us,
            result=result,
            estimated=self.estimated,
            saved=self.saved if outcome is Outcome.USED else None,
        )
        receipt = await self._meter.ledger.settle(connection, self._reservation, settlement)
        self.settled = True
        self.seen.settled(
            outcome,
            usage=self.usage,
            timings=self.timings,
            moments=self.moments,
            estimated=self.estimated,
            cost_nano=self.cost_nano,
            saved=settlement.saved,
        )
        return receipt


class Meter:
    """Opens and closes rows around the work of activities."""

    def __init__(self, database: Database, ledger: Ledger, telemetry: Telemetry | None = None) -> None:
        self.database = database
        self.ledger = ledger
        self._telemetry = Telemetry() if telemetry is None else telemetry

    @asynccontextmanager
    async def step(
        self,
        scope: RunScope,
        what: Kind,
        *,
        bound: Bound = NOTHING,
        price: Price = FREE,
        died: Usage | None = None,
        closing: bool = False,
        call: int = 0,
    ) -> AsyncGenerator[PaidStep]:
        """Reserves; the body does the work and settles. If it raises instead, the row is settled by what it raised.

        Args:
            call: numbers the paid calls of one attempt.

        Raises:
            BudgetExceeded: the run can't afford the step.
        """
        try:
            reservation = await self.ledger.reserve(
                replace(this_attempt(), call=call),
                scope,
                what,
                bound=bound,
                price=price,
                died=died,
                deadline=_deadline(),
                closing=closing,
            )
        except BudgetExceeded as refusal:
            self._telemetry.metrics.observe_refusal(scope, refusal.limit)
            raise
        seen = SeenStep(scope=scope, kind=what.kind, name=what.name, pool=what.pool, server=what.server, rid=what.rid)
        step = PaidStep(self, reservation, seen)
        if isinstance(reservation, Replayed):
            yield step
            return
        with self._telemetry.step(seen):
            try:
                yield step
            except BaseException as error:
                with anyio.move_on_after(SETTLE_PATIENCE.total_seconds(), shield=True):
                    async with self.database.begin(writes_first=True) as connection:
                        # What was settled in a transaction that came to nothing is to be settled again.
                        if not step.settled or await self.ledger.is_open(connection, reservation.attempt):
                            await step.settle(connection, outcome_of(error))
                raise


def _deadline() -> datetime | None:
    info = activity.info()
    timeout = info.start_to_close_timeout
    return None if timeout is None else info.started_time + timeout


def outcome_of(error: BaseException) -> Outcome:
    """What an attempt that ended in an exception goes down as."""
    if isinstance(error, asyncio.CancelledError):
        details = activity.cancellation_details()
        if details is not None and details.cancel_requested:
            return Outcome.CANCELLED
        # The worker is shutting down, or Temporal gave the attempt up: another one follows, if there may be one.
        return Outcome.FAILED if _is_last() else Outcome.RETRIED
    final = (isinstance(error, OrchestratorError) and not error.retryable) or (
        isinstance(error, ApplicationError) and error.non_retryable
    )
    return Outcome.FAILED if final or _is_last() else Outcome.RETRIED


def _is_last() -> bool:
    """Whether Temporal makes no further attempt."""
    policy = activity.info().retry_policy
    return policy is not None and 0 < policy.maximum_attempts <= activity.info().attempt
