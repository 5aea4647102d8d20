"""What runs ask people, under `/v1`."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict

from orchestrator.api.dependencies import Body, Tenant, TheRuns
from orchestrator.api.problems import BodyTooLarge, InvalidRequest, MalformedBody, UnsupportedMediaType, documented
from orchestrator.errors import InvalidAnswer, InvalidInput, QuestionClosed, RunHasEnded, UnknownName
from orchestrator.inbox import OpenQuestion, parsed_answer
from orchestrator.questions import Answer

__all__ = ["router"]

router = APIRouter(prefix="/v1")

RUN = "/runs/{run_id:path}"
"""With slashes: a run that another one started has them in its id."""


class QuestionList(BaseModel):
    model_config = ConfigDict(frozen=True)

    questions: Sequence[OpenQuestion]
    """The oldest first."""


class Answered(BaseModel):
    model_config = ConfigDict(frozen=True)

    run_id: str
    question: str
    taken: bool
    """Whether the run has it. Where not, no worker was there to check it: the next one will."""


def _body() -> dict[str, Any]:
    schema = Answer.model_json_schema()
    del schema["properties"]["question"]
    schema["required"].remove("question")
    return {
        "requestBody": {
            "required": True,
            "description": "The answer; the question's `answer_schema` says what it must be.",
            "content": {"application/json": {"schema": schema}},
        }
    }


@router.get("/questions", summary="List open questions", responses=documented(InvalidRequest))
async def list_questions(
    runs: TheRuns,
    tenant: Tenant,
    to: Annotated[str | None, Query(description="Only questions with this label.", max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Runs at most.")] = 100,
) -> QuestionList:
    """What runs ask people now, long questions cut. A change may take a moment to show."""
    return QuestionList(questions=await runs.inbox.all(tenant=tenant, to=to, limit=limit))


@router.get(f"{RUN}/questions", summary="See a run's open questions", responses=documented(UnknownName))
async def see_questions(run_id: str, runs: TheRuns, tenant: Tenant) -> QuestionList:
    """What a run and the runs that it started ask people now."""
    return QuestionList(questions=await runs.inbox.of_run(run_id, tenant=tenant))


@router.post(
    f"{RUN}/questions/{{question}}",
    summary="Answer a question",
    response_description="The run has the answer, and goes on.",
    openapi_extra=_body(),
    responses={
        202: {"model": Answered, "description": "No worker is there: the answer is left for the next one to check."},
        **documented(
            MalformedBody,
            UnknownName,
            RunHasEnded,
            QuestionClosed,
            BodyTooLarge,
            UnsupportedMediaType,
            InvalidInput,
            InvalidAnswer,
        ),
    },
)
async def answer_question(
    run_id: str, question: str, value: Body, runs: TheRuns, tenant: Tenant, response: Response
) -> Answered:
    """Answers a question of a run, or of one that it started. The first answer that fits counts."""
    taken = await runs.inbox.answer(run_id, parsed_answer(question, value), tenant=tenant)
    if not taken:
        response.status_code = 202
    return Answered(run_id=run_id, question=question, taken=taken)
