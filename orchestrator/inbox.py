"""What runs ask people, as those people see it: read without a worker, answered with or without one."""

import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError
from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.service import RPCError, RPCStatusCode

from orchestrator.errors import InvalidInput, RunHasEnded, UnknownName
from orchestrator.execution import TENANT
from orchestrator.failures import as_raised
from orchestrator.questions import ANSWER_HUMAN, ANSWER_QUESTION, MEMO_QUESTION, QUESTIONS, Answer, Question
from orchestrator.standing import PERSON, WAITING
from orchestrator.tool import problem_of

__all__ = ["Find", "Inbox", "OpenQuestion", "parsed_answer"]

logger = logging.getLogger(__name__)

PATIENCE = timedelta(seconds=10)
"""How long a worker has to take an answer: twice what it takes until another one is given a killed one's task."""

Find = Callable[[str, str | None], Awaitable[tuple[WorkflowHandle[Any, Any], WorkflowExecution]]]
"""Finds a run of a tenant, or of anybody's."""


class OpenQuestion(Question):
    """A question, and who asks."""

    run_id: str
    """Its run; a run that was started by another one asks for itself."""
    workflow: str


class Inbox:
    """The open questions of runs."""

    def __init__(self, client: Client, find: Find, *, patience: timedelta = PATIENCE) -> None:
        self._client = client
        self._find = find
        self._patience = patience

    async def all(self, *, tenant: str | None, to: str | None = None, limit: int = 100) -> Sequence[OpenQuestion]:
        """What runs ask now, the oldest question first; long ones cut. A change may take a moment to show.

        Args:
            tenant: whose runs; `None` is everybody's.
            to: only questions with this label.
            limit: runs at most.
        """
        conditions = [] if tenant is None else [f"{TENANT.name} = {_quoted(tenant)}"]
        asked = await self._listed(conditions, limit=limit)
        return sorted((question for question in asked if to in (None, question.to)), key=_age)

    async def of_run(self, run_id: str, *, tenant: str | None = None) -> Sequence[OpenQuestion]:
        """What a run and the runs that it started ask now, in full where a worker answers.

        Raises:
            UnknownName: the tenant has no such run.
        """
        handle, description = await self._find(run_id, tenant)
        asked = [*await _remembered(description), *await self._of_children(description)]
        whole: dict[str, Question] = {}
        for cut in dict.fromkeys(question.run_id for question in asked if question.is_cut):
            whole |= await self._in_full(handle if cut == run_id else self._client.get_workflow_handle(cut))
        return [
            question.model_copy(update=dict(whole[question.id])) if question.id in whole else question
            for question in asked
        ]

    async def answer(self, run_id: str, answer: Answer, *, tenant: str | None = None) -> bool:
        """Answers a question of a run, or of one that it started.

        Where no worker is there to take the answer, it is left for the next one. That one checks it; one that doesn't
        fit then leaves the question open, which says so in `refused`.

        Returns:
            Whether the answer was taken; false where it is left.

        Raises:
            UnknownName: the tenant has no such run, or the run has no such question.
            RunHasEnded: it asks nothing any more.
            InvalidAnswer: it doesn't fit the question, which stays open.
            QuestionClosed: the question was answered before, or isn't asked any more.
        """
        handle, description = await self._find(run_id, tenant)
        open_here = [question.id for question in await _remembered(description)]
        if answer.question not in open_here:
            for question in await self._of_children(description):
                if question.id == answer.question:
                    return await self._give(self._client.get_workflow_handle(question.run_id), answer, is_open=True)
        if description.status is not WorkflowExecutionStatus.RUNNING:
            raise RunHasEnded(run_id, _how(description))
        return await self._give(handle, answer, is_open=answer.question in open_here)

    async def _give(self, handle: WorkflowHandle[Any, Any], answer: Answer, *, is_open: bool) -> bool:
        try:
            await handle.execute_update(ANSWER_QUESTION, answer, rpc_timeout=self._patience)  # pyright: ignore[reportUnknownMemberType]
        except WorkflowUpdateFailedError as error:
            own = as_raised(error.cause)
            raise (error if own is None else own) from error
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            if not is_open:
                raise UnknownName("question", answer.question, []) from error
            logger.warning("no worker takes the answer to question %s: it is left for the next one", answer.question)
            await self._leave(handle, answer)
            return False
        except RPCError as error:
            raise _ended(handle, error) from error
        return True

    async def _leave(self, handle: WorkflowHandle[Any, Any], answer: Answer) -> None:
        try:
            await handle.signal(ANSWER_HUMAN, answer)
        except RPCError as error:
            raise _ended(handle, error) from error

    async def _of_children(self, run: WorkflowExecution) -> Sequence[OpenQuestion]:
        tenant = run.typed_search_attributes.get(TENANT) or ""
        below = f"WorkflowId STARTS_WITH {_quoted(f'{run.id}/')}"
        return await self._listed([below, f"{TENANT.name} = {_quoted(tenant)}"], limit=None)

    async def _listed(self, conditions: Sequence[str], *, limit: int | None) -> Sequence[OpenQuestion]:
        query = [*conditions, "ExecutionStatus = 'Running'", f"{WAITING.name} STARTS_WITH {_quoted(PERSON)}"]
        found = self._client.list_workflows(" AND ".join(query), limit=limit)
        return [question async for execution in found for question in await _remembered(execution)]

    async def _in_full(self, handle: WorkflowHandle[Any, Any]) -> dict[str, Question]:
        try:
            asked = await handle.query(QUESTIONS, result_type=list[Question], rpc_timeout=self._patience)
        except (RPCError, WorkflowQueryFailedError, WorkflowQueryRejectedError) as error:
            logger.warning("no worker says what run %s asks in full: %s", handle.id, error)
            return {}
        return {question.id: question for question in asked}


def parsed_answer(question: str, value: Any) -> Answer:
    """An answer to a question out of JSON.

    Raises:
        InvalidInput: it is none.
    """
    try:
        return TypeAdapter(Answer).validate_python({**value, "question": question})
    except TypeError as error:
        raise InvalidInput("the answer", 'it is no object: send {"answer": ...}') from error
    except ValidationError as error:
        raise InvalidInput("the answer", problem_of(error)) from error


async def _remembered(execution: WorkflowExecution) -> Sequence[OpenQuestion]:
    """The questions in a run's memo, the oldest first; none where it has ended."""
    if execution.status is not WorkflowExecutionStatus.RUNNING:
        return []
    memo = await execution.memo()
    asked = [
        OpenQuestion.model_validate({**value, "run_id": execution.id, "workflow": execution.workflow_type})
        for name, value in memo.items()
        if name.startswith(MEMO_QUESTION) and value is not None
    ]
    return sorted(asked, key=_age)


def _age(question: OpenQuestion) -> tuple[datetime, str, int]:
    return question.asked_at, question.run_id, question.number


def _how(execution: WorkflowExecution) -> str:
    status = execution.status
    return "ended" if status is None else status.name.lower().replace("_", " ").replace("canceled", "cancelled")


def _ended(handle: WorkflowHandle[Any, Any], error: RPCError) -> Exception:
    return RunHasEnded(handle.id, "ended") if error.status is RPCStatusCode.NOT_FOUND else error


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
