"""What people answered to a run, out of its history: questions and how they ended are in its memos."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import JsonValue
from temporalio.api.common.v1 import Payload
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from orchestrator.questions import ANSWER_HUMAN, ANSWER_QUESTION, MEMO_CLOSED, MEMO_QUESTION, Closed, Question
from orchestrator.questions import Answer as Said
from orchestrator.reruns import Answer, question_key

__all__ = ["answers_of_people"]


async def answers_of_people(client: Client, events: Sequence[HistoryEvent], place: str) -> Sequence[Answer]:
    """In the order in which the questions were asked; without those that were withdrawn.

    An answer that doesn't fit leaves its question open, so the last one before the question was closed counts.
    """
    questions: dict[str, Question] = {}
    said: dict[str, JsonValue] = {}
    ended: dict[str, Closed] = {}
    for event in events:
        if event.HasField("workflow_properties_modified_event_attributes"):
            memo = event.workflow_properties_modified_event_attributes.upserted_memo.fields
            for name, value in (await _decoded(client, memo)).items():
                if name.startswith(MEMO_QUESTION) and value is not None:
                    question = Question.model_validate(value)
                    questions.setdefault(question.id, question)
                elif name == MEMO_CLOSED and value is not None:
                    closed = Closed.model_validate(value)
                    ended[closed.question] = closed
        elif (answer := await _answer(client, event)) is not None and answer.question not in ended:
            said[answer.question] = answer.answer
    made: list[Answer] = []
    for name, question in questions.items():
        how = ended[name].how if name in ended else "withdrawn"
        key = question_key(question.text, question.tool, question.arguments)
        if how == "timed_out":
            made.append(Answer(key=key, place=place, silent=True))
        elif how == "answered" and name in said:
            made.append(Answer(key=key, place=place, said=said[name]))
    return made


async def _answer(client: Client, event: HistoryEvent) -> Said | None:
    if event.HasField("workflow_execution_update_accepted_event_attributes"):
        given = event.workflow_execution_update_accepted_event_attributes.accepted_request.input
        name, payloads = given.name, given.args.payloads
    elif event.HasField("workflow_execution_signaled_event_attributes"):
        signaled = event.workflow_execution_signaled_event_attributes
        name, payloads = signaled.signal_name, signaled.input.payloads
    else:
        return None
    if name not in (ANSWER_QUESTION, ANSWER_HUMAN) or not payloads:
        return None
    values: Sequence[Any] = await client.data_converter.decode(payloads)
    return Said.model_validate(values[0])


async def _decoded(client: Client, memo: Mapping[str, Payload]) -> dict[str, JsonValue]:
    made: dict[str, JsonValue] = {}
    for name in memo:
        if name.startswith((MEMO_QUESTION, MEMO_CLOSED)):
            values: Sequence[Any] = await client.data_converter.decode([memo[name]])
            made[name] = cast("JsonValue", values[0])
    return made
