"""The activity that looks things up."""

from temporalio import activity

from orchestrator.activities.metering import Meter, heartbeats
from orchestrator.failures import as_failures
from orchestrator.ledger import Kind
from orchestrator.passages import Retriever
from orchestrator.steps import RETRIEVE, RetrieveRequest, RetrieveResult
from orchestrator.usage import Outcome

__all__ = ["RetrievalActivities"]


class RetrievalActivities:
    """The activities of one retriever."""

    def __init__(self, *, retriever: Retriever, meter: Meter) -> None:
        self._retriever = retriever
        self._meter = meter

    @activity.defn(name=RETRIEVE)
    async def retrieve(self, request: RetrieveRequest) -> RetrieveResult:
        """The best passages of a collection."""
        with as_failures():
            async with self._meter.step(request.scope, Kind(kind=RETRIEVE, name=request.collection)) as step:
                if step.replayed is not None:
                    return RetrieveResult.model_validate({**step.replayed.result, "receipt": step.replayed.receipt})
                step.seen.attributes["gen_ai.retrieval.top_k"] = request.k
                async with heartbeats():
                    found = await self._retriever.search(
                        request.scope.tenant, request.collection, request.query, k=request.k
                    )
                kept = found.model_dump(mode="json")
                async with self._meter.database.begin(writes_first=True) as connection:
                    receipt = await step.settle(connection, Outcome.USED, kept)
        return RetrieveResult(passages=found.passages, mode=found.mode, receipt=receipt)
