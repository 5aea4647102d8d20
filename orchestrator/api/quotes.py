"""What a run will cost, under `/v1`."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from orchestrator.api.dependencies import Body, Tenant, TheRuns
from orchestrator.api.problems import BodyTooLarge, InvalidRequest, MalformedBody, UnsupportedMediaType, documented
from orchestrator.errors import InvalidInput, NoHistory, UnknownName
from orchestrator.quotes import Input, Quote, Subject, require_history
from orchestrator.tool import problem_of

__all__ = ["router"]

router = APIRouter(prefix="/v1")


class QuoteRequest(BaseModel):
    """What a quote is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workflow: str
    input: JsonValue = None
    """The workflow's input; without one the quote is for any."""

    @property
    def given(self) -> Input | None:
        """The input, if there is one; `null` may be one."""
        return Input(self.input) if "input" in self.model_fields_set else None


BODY = {
    "requestBody": {
        "required": True,
        "description": "The workflow, and the input that it would be started with.",
        "content": {"application/json": {"schema": QuoteRequest.model_json_schema()}},
    }
}


@router.get("/quotes", summary="See what a run will cost", responses=documented(UnknownName, NoHistory, InvalidRequest))
async def see_quote(
    runs: TheRuns,
    tenant: Tenant,
    workflow: Annotated[str, Query(description="Whose next run is meant.", max_length=255)],
) -> Quote:
    """Cost, tokens and time of a run with any input, by the runs that there were, and what it would wait for now.

    Goes by the caller's own runs of this version first; `basis` says by whose, `runs` by how many. Without a completed
    run there is no quote: the answer is the problem `no-history`.
    """
    return require_history(await runs.quotes.quote(Subject.among(runs.workflows, workflow, tenant, None)))


@router.post(
    "/quotes",
    summary="See what a run with this input will cost",
    openapi_extra=BODY,
    responses=documented(
        MalformedBody, UnknownName, NoHistory, BodyTooLarge, UnsupportedMediaType, InvalidInput, InvalidRequest
    ),
)
async def make_quote(value: Body, runs: TheRuns, tenant: Tenant) -> Quote:
    """The same for a given input: figures that were found to grow with its size are quoted for this size.

    Nothing is started.
    """
    asked = _parsed(value)
    subject = Subject.among(runs.workflows, asked.workflow, tenant, asked.given)
    return require_history(await runs.quotes.quote(subject))


def _parsed(value: JsonValue) -> QuoteRequest:
    try:
        return QuoteRequest.model_validate(value)
    except ValidationError as error:
        raise InvalidInput("the quote", problem_of(error)) from error
