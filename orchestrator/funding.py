"""A run's budget as the run itself sees it: whether it is closing, waits for a top-up, and how much time it has left.

Deterministic. The ledger decides whether a step fits; what follows from its refusal is decided here.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from typing import TypeVar

from temporalio import workflow

from orchestrator.budget import Allowance
from orchestrator.errors import BudgetExceeded
from orchestrator.standing import Standing
from orchestrator.steps import TOP_UP, RunScope, TopUp
from orchestrator.usage import Receipt

__all__ = ["Funding"]

R = TypeVar("R")

NANO_USD = Decimal("0.000000001")

ASK_AGAIN = (timedelta(minutes=1), timedelta(minutes=15))
"""How soon, and at most how late, a paused run asks again where a budget that isn't its own was used up."""


class Funding:
    """What a run may still spend."""

    def __init__(
        self, scope: RunScope, raise_limits: Callable[[str, TopUp], Awaitable[None]], standing: Standing
    ) -> None:
        """Listens for top-ups.

        Args:
            raise_limits: writes a top-up, named by a key, to the ledger.
        """
        self._scope = scope
        self._raise_limits = raise_limits
        self._standing = standing
        self._received = 0
        self._top_ups = 0
        self._more_wall = timedelta(0)
        self._pauses = 0
        self.closing = False
        """Whether the budget is used up and the run draws on what was kept for its answer."""
        workflow.set_signal_handler(TOP_UP, self._on_top_up)  # pyright: ignore[reportUnknownMemberType]

    async def spend(self, step: Callable[[], Awaitable[R]], *, closes: bool = True) -> R:
        """Takes a step; where it doesn't fit, does what the budget says: fails, closes the run, or waits.

        Args:
            closes: whether the step, taken again on the reserve, would bring the run nearer to its answer.

        Raises:
            BudgetExceeded: it doesn't fit, and neither the reserve nor a top-up helped.
        """
        again = ASK_AGAIN[0]
        while True:
            try:
                return await step()
            except BudgetExceeded as error:
                if error.account is None:
                    raise  # a limit that the step itself was given
                policy = self._scope.on_exhausted
                if policy == "finish" and not self.closing:
                    self.closing = True
                    if not closes:
                        raise
                elif policy == "pause":
                    await self._wait(error, again)
                    again = min(2 * again, ASK_AGAIN[1])
                else:
                    raise

    def left(self, spent: Receipt, budget: Allowance | None) -> Allowance | None:
        """What a part of the run may spend: its own budget, and no more than the run has left before its reserve."""
        run = self._scope.budget
        if run is None:
            return budget
        kept = 1 - run.reserve_for_answer if run.on_exhausted == "finish" else Decimal(1)
        tokens = None if run.tokens is None else max(1, int(run.tokens * kept) - spent.usage.total)
        usd = None if run.usd is None else max(NANO_USD, round(run.usd * kept, 9) - spent.cost)
        if budget is not None:
            tokens = min((each for each in (tokens, budget.tokens) if each is not None), default=None)
            usd = min((each for each in (usd, budget.usd) if each is not None), default=None)
        return Allowance(tokens=tokens, usd=usd, calls=None if budget is None else budget.calls)

    def time_left(self) -> timedelta | None:
        """Until the wall limit of the run or of one above it; `None` where there is none.

        Raises:
            BudgetExceeded: it has passed.
        """
        left: timedelta | None = None
        for scope in self._scope.lineage:
            if scope.budget is None or scope.budget.wall is None:
                continue
            wall = scope.budget.wall + (self._more_wall if scope is self._scope else timedelta(0))
            kept = timedelta(0) if self.closing else wall * scope.budget.kept_ppm / 1_000_000
            here = scope.started_at + wall + self._standing.waited - kept - workflow.now()
            if here <= timedelta(0):
                raise self._out_of_time(scope, wall, kept)
            left = here if left is None else min(left, here)
        return left

    def out_of_time(self) -> BudgetExceeded | None:
        """The refusal, if the run has no time left."""
        try:
            self.time_left()
        except BudgetExceeded as error:
            return error
        return None

    def _out_of_time(self, scope: RunScope, wall: timedelta, kept: timedelta) -> BudgetExceeded:
        own = scope is self._scope
        return BudgetExceeded(
            "wall",
            whose="the run's budget" if own else "the budget of the run that started it",
            allowed=f"{wall.total_seconds():g} s"
            + (f", {kept.total_seconds():g} s of it kept for the answer" if kept else ""),
            spent=f"{(workflow.now() - scope.started_at - self._standing.waited).total_seconds():.1f} s",
            needed="more time",
            account=scope.run,
        )

    async def _wait(self, error: BudgetExceeded, again: timedelta) -> None:
        seen = self._top_ups
        own = error.account == self._scope.run
        self._begin_pause(error)
        try:
            await workflow.wait_condition(lambda: self._top_ups > seen, timeout=None if own else again)
        except TimeoutError:
            pass  # a new day, a limit that was raised, a top-up of the run above: the ledger knows
        except asyncio.CancelledError:
            self._end_pause()
            raise
        # No `finally`: that would run outside the workflow too, when a worker drops a run that still waits.
        self._end_pause()

    def _begin_pause(self, error: BudgetExceeded) -> None:
        self._pauses += 1
        if self._pauses == 1:
            self._standing.waits(TOP_UP, f"budget: {error.limit}", f"**Waits for a top-up**: {error}")

    def _end_pause(self) -> None:
        self._pauses -= 1
        if self._pauses == 0:
            self._standing.goes_on(TOP_UP)

    async def _on_top_up(self, amount: TopUp) -> None:
        number = self._received = self._received + 1
        await self._raise_limits(f"{workflow.info().run_id}:{number}", amount)
        self._more_wall += amount.wall or timedelta(0)
        self._top_ups += 1
