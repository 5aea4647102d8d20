"""The activity that ends a run's bill."""

from temporalio import activity

from orchestrator.activities.metering import this_attempt
from orchestrator.failures import as_failures
from orchestrator.ledger import Ledger
from orchestrator.steps import CLOSE_RUN, CloseRunRequest

__all__ = ["CloseActivities"]


class CloseActivities:
    """The activities of the ledger itself."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @activity.defn(name=CLOSE_RUN)
    async def close_run(self, request: CloseRunRequest) -> None:
        """Records how a run ended."""
        with as_failures():
            await self._ledger.close_run(this_attempt(), request.scope, request.status, request.error)
