"""The activity of reruns: hands out what the ledger kept of the original's steps, at no cost."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import JsonValue
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio import activity
from temporalio.exceptions import ApplicationError

from orchestrator.activities.metering import Meter
from orchestrator.activities.tools import kept
from orchestrator.database.tables import charges
from orchestrator.errors import OffRecord
from orchestrator.failures import as_failures
from orchestrator.ledger import Kind
from orchestrator.reruns import RecordedStep
from orchestrator.steps import ANSWER, AnswerRequest
from orchestrator.transcripts import TranscriptStore
from orchestrator.usage import Outcome

__all__ = ["RecordActivities"]


class RecordActivities:
    """Answers in place of tools and retrieval. Runs with the ledger's own activities: no tool's worker is needed."""

    def __init__(self, meter: Meter, transcripts: TranscriptStore) -> None:
        self._meter = meter
        self._transcripts = transcripts
        self.all: Sequence[Callable[..., Any]] = [self.answer]

    @activity.defn(name=ANSWER)
    async def answer(self, request: AnswerRequest) -> dict[str, JsonValue]:
        """What the original was told; fails as the original's step did, or because there is none."""
        with as_failures():
            return await self._answer(request)

    async def _answer(self, request: AnswerRequest) -> dict[str, JsonValue]:
        async with self._meter.step(request.scope, Kind(kind=request.kind, name=request.name)) as step:
            if step.replayed is not None:
                return _with_receipt(step.replayed.result, step.replayed.receipt)
            recorded = request.step
            if recorded is None:
                raise OffRecord(request.name, request.of)
            if (failure := recorded.failure) is not None:
                raise ApplicationError(failure.message, failure.details, type=failure.type, non_retryable=True)
            async with self._meter.database.begin() as connection:
                result = await self._result(connection, request, recorded)
                receipt = await step.settle(connection, Outcome.USED, result)
        return _with_receipt(result, receipt)

    async def _result(
        self, connection: AsyncConnection, request: AnswerRequest, step: RecordedStep
    ) -> Mapping[str, Any]:
        c = charges.c
        own = (c.workflow_id == step.workflow_id, c.run_id == step.run_id, c.activity_id == step.activity_id)
        paid = (c.tenant == request.scope.tenant, c.entry == 0, c.call == 0, c.outcome == Outcome.USED)
        query = select(c.result).where(*own, *paid)
        found: Mapping[str, Any] | None = (await connection.execute(query)).scalar_one_or_none()
        if not found:
            raise OffRecord(request.name, request.of)
        if request.kind == "retrieve" or ("content" in found) == request.by_reference:
            return found
        if not request.by_reference:  # what a model read may be cut, so the value can't be had from it
            raise OffRecord(request.name, request.of)
        value = found["value"]
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return {"content": await kept(self._transcripts, connection, text.encode(), request.scope.tenant)}


def _with_receipt(result: Mapping[str, Any], receipt: Any) -> dict[str, JsonValue]:
    return {**result, "receipt": receipt.model_dump(mode="json")}
