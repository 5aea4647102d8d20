"""The sweeper at work: what Temporal knows of attempts, and a sweep from time to time beside a worker."""

import logging
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

from cachetools import TTLCache
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from orchestrator.background import repeating
from orchestrator.database import Database, now
from orchestrator.ledger import Attempt, Facts, Sweeper
from orchestrator.steps import RunStatus

__all__ = ["Liveness", "sweeper_for", "sweeping"]

logger = logging.getLogger(__name__)

EVERY = timedelta(seconds=15)
LOOKED_BACK = timedelta(days=1)
"""For runs that were ended by force."""


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

    async def forced_endings(self) -> Mapping[str, RunStatus]:
        """Runs that were terminated or timed out lately, by the ids of their first executions."""
        since = (now() - LOOKED_BACK).isoformat()
        query = f"ExecutionStatus IN ('Terminated', 'TimedOut') AND CloseTime > '{since}'"
        ended: dict[str, RunStatus] = {}
        async for execution in self._client.list_workflows(query):
            first = execution.raw_info.first_run_id or execution.run_id
            terminated = execution.status is WorkflowExecutionStatus.TERMINATED
            ended[first] = RunStatus.TERMINATED if terminated else RunStatus.TIMED_OUT
        return ended

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


def sweeper_for(client: Client, database: Database, facts: Facts | None) -> Sweeper:
    """One that asks Temporal what still runs."""
    liveness = Liveness(client)
    return Sweeper(database, is_over=liveness.is_over, facts=facts, forced_endings=liveness.forced_endings)


def sweeping(
    client: Client, database: Database, facts: Facts | None, *, every: timedelta = EVERY
) -> AbstractAsyncContextManager[None]:
    """Sweeps the ledger from time to time while the body runs."""
    sweeper = sweeper_for(client, database, facts)

    async def sweep() -> None:
        swept = await sweeper.sweep()
        if swept.from_facts or swept.estimated or swept.corrected or swept.closed:
            logger.info("swept the ledger: %s", swept)

    return repeating("sweep the ledger", sweep, every=every)
