"""What happens in a run, read from Temporal's own history of it."""

from datetime import UTC, datetime
from typing import Any, cast

from pydantic import BaseModel, ConfigDict
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from orchestrator.questions import MEMO_CLOSED, MEMO_QUESTION, Closed, Question
from orchestrator.steps import CLOSE_RUN, DISCARD, TOP_UP
from orchestrator.usage import Receipt

__all__ = ["HistoryReader", "RunEvent"]

BOOKKEEPING = (CLOSE_RUN, DISCARD, TOP_UP)
"""Activities that are no steps to a user."""


class RunEvent(BaseModel):
    """Something that happened in a run. Made from Temporal's own history, so it is durable and has a place in it."""

    model_config = ConfigDict(frozen=True)

    id: int
    """Its place in the history; hand it back to go on from there."""
    type: str
    """`run.started`, `step.started`, `step.completed`, `step.failed`, `run.completed`, `run.failed`, ...

    Of questions to people: `question.asked`, `question.refused` (an answer that nobody could refuse when it was given
    doesn't fit), `question.answered`, `question.timed_out`, `question.withdrawn`.
    """
    at: datetime
    step: int | None = None
    """Which step; the id of its `step.started`."""
    question: str | None = None
    """Which question."""
    name: str | None = None
    """Of the step. Of a question: whom it asks, or who answered."""
    summary: str | None = None
    attempt: int | None = None
    error: str | None = None
    receipt: Receipt | None = None


class HistoryReader:
    """Turns Temporal's history into events that a user knows."""

    def __init__(self, client: Client) -> None:
        self._converter = client.data_converter
        self._names: dict[int, str] = {}

    async def read(self, event: HistoryEvent) -> RunEvent | None:
        """One event, or `None` for those that say nothing to a user."""
        kind = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_").lower()
        at = event.event_time.ToDatetime(UTC)
        if event.HasField("activity_task_scheduled_event_attributes"):
            name = event.activity_task_scheduled_event_attributes.activity_type.name
            self._names[event.event_id] = name
            if name in BOOKKEEPING:
                return None
            summary = await self._text(event.user_metadata.summary)
            return RunEvent(
                id=event.event_id, type="step.started", at=at, step=event.event_id, name=name, summary=summary
            )
        if event.HasField("activity_task_completed_event_attributes"):
            completed = event.activity_task_completed_event_attributes
            values = await self._converter.decode(completed.result.payloads)
            answer: Any = values[0] if values else None
            receipt = cast("dict[str, Any]", answer).get("receipt") if isinstance(answer, dict) else None
            return self._step(event, at, "step.completed", completed.scheduled_event_id, receipt=receipt)
        for outcome in ("failed", "timed_out", "canceled"):
            if event.HasField(f"activity_task_{outcome}_event_attributes"):  # type: ignore[arg-type]
                attributes = getattr(event, f"activity_task_{outcome}_event_attributes")
                error = getattr(attributes, "failure", None)
                return self._step(
                    event, at, f"step.{outcome}".replace("canceled", "cancelled"), attributes.scheduled_event_id,
                    error=_cause(error) if error else None,
                )  # fmt: skip
        if event.HasField("workflow_properties_modified_event_attributes"):
            return await self._question(event, at)
        if kind.startswith("workflow_execution_") and not (
            kind.endswith(("signaled", "requested")) or "_update_" in kind
        ):
            ending = kind.removeprefix("workflow_execution_").replace("canceled", "cancelled")
            failed = event.HasField("workflow_execution_failed_event_attributes")
            error = event.workflow_execution_failed_event_attributes.failure.message if failed else None
            return RunEvent(id=event.event_id, type=f"run.{ending}", at=at, error=error)
        return None

    def _step(
        self, event: HistoryEvent, at: datetime, kind: str, step: int, *, receipt: Any = None, error: str | None = None
    ) -> RunEvent | None:
        name = self._names.get(step)
        if name in BOOKKEEPING:
            return None
        return RunEvent(id=event.event_id, type=kind, at=at, step=step, name=name, receipt=receipt, error=error)

    async def _question(self, event: HistoryEvent, at: datetime) -> RunEvent | None:
        """Questions are kept in the run's memo, and how each ended too."""
        for name, payload in event.workflow_properties_modified_event_attributes.upserted_memo.fields.items():
            (value,) = await self._converter.decode([payload])
            if name == MEMO_CLOSED:
                closed = Closed.model_validate(value)
                return RunEvent(
                    id=event.event_id, type=f"question.{closed.how}", at=at, question=closed.question,
                    name=closed.by, summary=closed.answer,
                )  # fmt: skip
            if name.startswith(MEMO_QUESTION) and value is not None:
                asked = Question.model_validate(value)
                return RunEvent(
                    id=event.event_id, type="question.asked" if asked.refused is None else "question.refused", at=at,
                    question=asked.id, name=asked.to, summary=asked.summary, error=asked.refused,
                )  # fmt: skip
        return None

    async def _text(self, payload: Any) -> str | None:
        if not payload.data:
            return None
        (text,) = await self._converter.decode([payload])
        return str(text)


def _cause(failure: Any) -> str:
    while failure.HasField("cause"):
        failure = failure.cause
    return failure.message
