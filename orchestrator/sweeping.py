"""The sweeper at work: what Temporal knows of attempts, and a sweep from time to time beside a worker."""

import logging
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

from cachetools import TTLCache
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from orchestrator.background import repeating
from orchestrator.database import Database
from orchestrator.ledger import Attempt, Facts, Sweeper

__all__ = ["Liveness", "sweeping"]

logger = logging.getLogger(__name__)

EVERY = timedelta(seconds=15)


class Liveness:
    """Whether attempts may still be running, as Temporal sees it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._seen = TTLCache[tuple[str, str], Any](maxsize=10_000, ttl=2)

    async def is_over(self, attempt: Attempt) -> bool:
        """Whether the attempt has ended, or Temporal has given it up. One that it doesn't know has ended."""
        described = await self._described(attempt)
        if described is None or described.status is not WorkflowExecutionStatus.RUNNING:
            return True
        for pending in described.raw_description.pending_activities:
            if pending.activity_id == attempt.activity_id:
                waits = pending.state == PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
                return pending.attempt > attempt.attempt or waits
        return True

    async def _described(self, attempt: Attempt) -> Any:
        key = (attempt.workflow_id, attempt.run_id)
        if key not in self._seen:
            handle = self._client.get_workflow_handle(attempt.workflow_id, run_id=attempt.run_id)
            try:
                self._seen[key] = await handle.describe()
            except RPCError as error:
                if error.status not in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
                    raise
                self._seen[key] = None
        return self._seen[key]


def sweeping(
    client: Client, database: Database, facts: Facts | None, *, every: timedelta = EVERY
) -> AbstractAsyncContextManager[None]:
    """Sweeps the ledger from time to time while the body runs."""
    sweeper = Sweeper(database, is_over=Liveness(client).is_over, facts=facts)

    async def sweep() -> None:
        swept = await sweeper.sweep()
        if swept.from_facts or swept.estimated or swept.corrected:
            logger.info("swept the ledger: %s", swept)

    return repeating("sweep the ledger", sweep, every=every)
