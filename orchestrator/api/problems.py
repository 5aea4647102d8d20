"""Every error as problem details (RFC 9457), `application/problem+json`.

The API's own errors stand under `orchestrator.errors.OrchestratorError` like all others:

```text
RequestError
├── MalformedBody           the body is no JSON
├── UnsupportedMediaType    the body doesn't say that it is JSON, or an image
├── BodyTooLarge
├── MalformedEventId        `Last-Event-ID` is no id of an event
└── InvalidRequest          a parameter breaks its schema
OrchestratorError
├── TemporalUnavailable
├── DatabaseUnavailable
└── NotReady
```
"""

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from temporalio.service import RPCError, RPCStatusCode

from orchestrator.errors import OrchestratorError, RequestError

__all__ = [
    "PROBLEM_JSON",
    "BodyTooLarge",
    "DatabaseUnavailable",
    "InvalidRequest",
    "MalformedBody",
    "MalformedEventId",
    "NotReady",
    "Problem",
    "TemporalUnavailable",
    "UnsupportedMediaType",
    "describe_problems",
    "documented",
]

logger = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"

_OUTAGES = (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.RESOURCE_EXHAUSTED)
_JSON: TypeAdapter[JsonValue] = TypeAdapter(JsonValue)


class Problem(BaseModel):
    """What went wrong, as RFC 9457 says it. Further members depend on `type`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: Annotated[str, Field(examples=["/problems/unknown-name"])]
    """The kind of problem; it stays the same for ever, so programs may decide by it."""
    title: str
    """The kind of problem, for people."""
    status: int
    """The HTTP status."""
    detail: str
    """What happened this time, and what to do about it."""
    instance: str
    """The path that was asked for."""


class MalformedBody(RequestError):
    """The body of a request is no JSON."""

    status = 400

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"the body is no JSON: {problem}")


class UnsupportedMediaType(RequestError):
    """A body doesn't say that it is what is wanted. Browsers send forms and text to any site without asking it."""

    status = 415

    def __init__(self, media_type: str | None, *, wanted: str = "application/json") -> None:
        self.media_type = media_type
        super().__init__(f"the body is {media_type or 'of no declared type'}: send Content-Type: {wanted}")


class BodyTooLarge(RequestError):
    """The body of a request is larger than the API reads."""

    status = 413

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"the body has more than {limit:,} bytes: send less, or a reference to it")


class MalformedEventId(RequestError):
    """`Last-Event-ID` is no id of an event."""

    status = 400

    def __init__(self, value: str) -> None:
        self.value = value
        super().__init__(f"Last-Event-ID is {value!r}, no id of an event: send the id of the last one received")


class InvalidRequest(RequestError):
    """A parameter of a request breaks its schema."""

    def __init__(self, problems: Sequence[Mapping[str, str]]) -> None:
        self.errors = [dict(problem) for problem in problems]
        super().__init__("; ".join(f"{problem['in']}: {problem['problem']}" for problem in self.errors))


class TemporalUnavailable(OrchestratorError):
    """Temporal doesn't answer."""

    status = 503
    retryable = True

    def __init__(self) -> None:
        super().__init__("Temporal doesn't answer now: try again; /readyz says when it does")


class DatabaseUnavailable(OrchestratorError):
    """The database doesn't answer."""

    status = 503
    retryable = True

    def __init__(self) -> None:
        super().__init__("the database doesn't answer now: try again; /readyz says when it does")


class NotReady(OrchestratorError):
    """A server that the API needs doesn't answer."""

    status = 503
    retryable = True

    def __init__(self, unreachable: Sequence[str]) -> None:
        self.unreachable = list(unreachable)
        super().__init__(f"{' and '.join(self.unreachable)} can't be reached: the log says why")


def documented(*kinds: type[OrchestratorError]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these problems."""
    by_status: dict[int | str, list[str]] = defaultdict(list)
    for kind in kinds:
        by_status[kind.status].append(f"`{_type(kind.__name__)}`: {(kind.__doc__ or '').splitlines()[0]}")
    return {status: {"model": Problem, "description": "\n\n".join(lines)} for status, lines in by_status.items()}


def describe_problems(api: FastAPI) -> None:
    """Makes every error of the API a problem."""
    api.add_exception_handler(OrchestratorError, _on_own)
    api.add_exception_handler(RequestValidationError, _on_validation)
    api.add_exception_handler(HTTPException, _on_http)
    api.add_exception_handler(RPCError, _on_temporal)
    api.add_exception_handler(ConnectionError, _on_connection)
    api.add_exception_handler(Exception, _on_unexpected)


def _answer(request: Request, error: OrchestratorError) -> JSONResponse:
    return _response(
        request,
        kind=type(error).__name__,
        title=error.title,
        status=error.status,
        detail=str(error),
        members=_plain(vars(error)),
    )


def _response(
    request: Request,
    *,
    kind: str,
    title: str,
    status: int,
    detail: str,
    members: Mapping[str, JsonValue] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    problem: dict[str, JsonValue] = {
        "type": _type(kind),
        "title": title,
        "status": status,
        "detail": detail,
        "instance": request.url.path,
    }
    # No member may stand in for one of the five.
    return JSONResponse({**problem, **(members or {}), **problem}, status, headers, PROBLEM_JSON)


def _type(kind: str) -> str:
    return "/problems/" + re.sub(r"(?<!^)(?=[A-Z])", "-", kind).lower()


def _plain(attributes: Mapping[str, object]) -> dict[str, JsonValue]:
    """Those attributes of an error that are JSON as they stand."""
    members: dict[str, JsonValue] = {}
    for name, value in attributes.items():
        try:
            members[name] = _JSON.validate_python(value)
        except ValidationError:
            continue
    return members


async def _on_own(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OrchestratorError)
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.error("%s %s: %s", request.method, request.url.path, error, exc_info=error.__cause__)
    return _answer(request, error)


async def _on_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return _answer(request, InvalidRequest(list(_parameters(error.errors()))))


def _parameters(errors: Iterable[Any]) -> Iterable[dict[str, str]]:
    for item in errors:
        place, *path = item["loc"]
        yield {"in": f"{place} {'.'.join(map(str, path))}".strip(), "problem": item["msg"]}


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    detail = error.detail
    if status is HTTPStatus.NOT_FOUND:
        detail = f"there is no {request.url.path}: /docs lists what there is"
    elif status is HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{request.url.path} doesn't take {request.method}: /docs lists what it takes"
    kind = status.phrase.title().replace(" ", "")
    return _response(
        request, kind=kind, title=status.phrase.capitalize(), status=status, detail=detail, headers=error.headers
    )


async def _on_temporal(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RPCError)
    if error.status not in _OUTAGES:
        raise error
    logger.warning("%s %s: Temporal says %s: %s", request.method, request.url.path, error.status.name, error.message)
    return _answer(request, TemporalUnavailable())


async def _on_connection(request: Request, error: Exception) -> JSONResponse:
    # Clients that leave raise no ConnectionError here: to ASGI, that is a message. Temporal's client raises RPCError.
    logger.warning("%s %s: the database can't be reached: %s", request.method, request.url.path, error)
    return _answer(request, DatabaseUnavailable())


async def _on_unexpected(request: Request, error: Exception) -> JSONResponse:
    # Starlette raises the error again once this is sent, and the server logs it with its traceback.
    return _response(
        request,
        kind="InternalError",
        title="Internal error",
        status=HTTPStatus.INTERNAL_SERVER_ERROR,
        detail="the server failed on this request: its log says why",
    )
