"""The activities of the ledger itself: a run's bill is closed, topped up, and corrected."""

from collections.abc import Callable, Sequence
from typing import Any

from temporalio import activity

from orchestrator.activities.metering import this_attempt
from orchestrator.database import Database
from orchestrator.failures import as_failures
from orchestrator.ledger import Attempt, Ledger
from orchestrator.ledger.experience import experience
from orchestrator.steps import (
    CLOSE_RUN,
    DISCARD,
    EXPERIENCE,
    TOP_UP,
    CloseRunRequest,
    CloseRunResult,
    DiscardRequest,
    DiscardResult,
    ExperienceRequest,
    ExperienceResult,
    TopUpRequest,
)
from orchestrator.telemetry import Metrics

__all__ = ["LedgerActivities"]


class LedgerActivities:
    """What runs say to the ledger."""

    def __init__(self, database: Database, ledger: Ledger, metrics: Metrics) -> None:
        self._database = database
        self._ledger = ledger
        self._metrics = metrics
        self.all: Sequence[Callable[..., Any]] = [self.close_run, self.top_up, self.discard, self.experience]

    @activity.defn(name=CLOSE_RUN)
    async def close_run(self, request: CloseRunRequest) -> CloseRunResult:
        """Records how a run ended, and seals its charges."""
        with as_failures():
            return await self._ledger.close_run(
                request.scope, request.status, request.error, path=request.path, passed=request.passed
            )

    @activity.defn(name=TOP_UP)
    async def top_up(self, request: TopUpRequest) -> None:
        """Raises the limits of a run's budget."""
        with as_failures():
            await self._ledger.top_up(request.scope, request.key, request.amount)

    @activity.defn(name=DISCARD)
    async def discard(self, request: DiscardRequest) -> DiscardResult:
        """Books steps that the run threw away as discarded."""
        workflow_id = this_attempt().workflow_id
        named = [step.rpartition(":") for step in request.steps]
        attempts = [
            Attempt(workflow_id=workflow_id, run_id=run_id, activity_id=activity_id, attempt=1)
            for run_id, _, activity_id in named
        ]
        with as_failures():
            discarded = await self._ledger.discard(attempts)
            self._metrics.observe_discard(request.scope, discarded.nano)
        return DiscardResult(cancelled=discarded.cancelled)

    @activity.defn(name=EXPERIENCE)
    async def experience(self, request: ExperienceRequest) -> ExperienceResult:
        """What past runs of the workflow say of strategies."""
        scope = request.scope
        with as_failures():
            known = await experience(
                self._database, tenant=scope.tenant, workflow=scope.workflow, version=scope.version
            )
        return ExperienceResult(known=tuple(known))
