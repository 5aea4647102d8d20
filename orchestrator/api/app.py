"""The application: routes, problems and documentation put together."""

from collections.abc import MutableMapping, Sequence
from datetime import timedelta
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI
from pydantic import BaseModel

from orchestrator.api.costs import router as costs
from orchestrator.api.dependencies import Context, TheRuns
from orchestrator.api.events import EventStream
from orchestrator.api.images import router as images
from orchestrator.api.metrics import router as metrics
from orchestrator.api.problems import PROBLEM_JSON, NotReady, Problem, describe_problems, documented
from orchestrator.api.questions import router as questions
from orchestrator.api.quotes import router as quotes
from orchestrator.api.receipts import router as receipts
from orchestrator.api.routes import router
from orchestrator.runs import Runs
from orchestrator.settings import Settings
from orchestrator.telemetry import Exposition, Source, Telemetry

__all__ = ["create_api"]

DESCRIPTION = """
Starts durable reasoning workflows, watches them, and says what they cost.

Every error is a problem as of RFC 9457: `type` says which, and never changes.
"""

UNWATCHED = frozenset({"/metrics", "/healthz", "/readyz"})
"""Paths that machines ask for all the time; no request for them is traced."""

health = APIRouter()


class Health(BaseModel):
    status: str


def create_api(
    runs: Runs,
    *,
    settings: Settings,
    ping: timedelta = timedelta(seconds=15),
    telemetry: Telemetry | None = None,
    sources: Sequence[Source] = (),
) -> FastAPI:
    """The REST API of the apps behind `runs`; documented at `/docs`.

    Args:
        ping: how often a silent stream of events says that it lives.
        telemetry: what the process counts, and whether it traces.
        sources: what `/metrics` shows besides.
    """
    telemetry = Telemetry() if telemetry is None else telemetry
    api = _Api(
        title="Reasoning orchestrator",
        version=version("reasoning-orchestrator"),
        description=DESCRIPTION,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,  # what generated clients call their methods
        responses={"default": {"model": Problem, "description": "Any other problem"}},
        telemetry={
            "tracing": telemetry.tracing,
            "operation_spans": False,
            "metrics": False,
            "logs": False,
            "exclude": _is_unwatched,
        },
    )
    exposition = Exposition(telemetry.metrics, sources)
    api.state.context = Context(runs=runs, settings=settings, ping=ping, exposition=exposition)
    describe_problems(api)
    api.include_router(router)
    api.include_router(receipts)
    api.include_router(costs)
    api.include_router(quotes)
    api.include_router(questions)
    api.include_router(images)
    api.include_router(health)
    api.include_router(metrics)
    return api


def _is_unwatched(scope: MutableMapping[str, Any]) -> bool:
    return scope["path"] in UNWATCHED


@health.get("/healthz", summary="Is the process up?")
async def healthz() -> Health:
    """Answers as long as the process does."""
    return Health(status="up")


@health.get("/readyz", summary="Can it work?", responses=documented(NotReady))
async def readyz(runs: TheRuns) -> Health:
    """Whether the database and Temporal answer within two seconds."""
    if unreachable := await runs.unreachable():
        raise NotReady(unreachable)
    return Health(status="ready")


class _Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """FastAPI's document, with two things right that FastAPI has no way to say: see below."""
        made = self.openapi_schema is None
        document = super().openapi()
        if made:
            for path in document["paths"].values():
                for operation in path.values():
                    for status, response in operation["responses"].items():
                        _correct(status, response.get("content", {}))
        return document


def _correct(status: str, content: dict[str, Any]) -> None:
    """Puts problems under their own media type; says of a stream what each of its events is, not that it is text."""
    if status == "default" or int(status) >= HTTPStatus.BAD_REQUEST:
        ((described, problem),) = content.items()
        del content[described]
        content[PROBLEM_JSON] = problem
    elif (stream := content.get(EventStream.media_type)) is not None:
        del stream["schema"]["type"]
