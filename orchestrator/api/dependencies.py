"""What routes are given: the runs, the caller's tenant, a body of JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, cast

from fastapi import Depends, Request
from pydantic import JsonValue
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from orchestrator.api.problems import BodyTooLarge, MalformedBody, UnsupportedMediaType
from orchestrator.runs import Runs
from orchestrator.settings import Settings
from orchestrator.telemetry import Exposition

__all__ = ["Body", "Context", "Tenant", "TheRuns", "context"]

MAX_BODY = 1_000_000
"""Bytes; Temporal refuses a payload of 2 MiB."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What an API is made of."""

    runs: Runs
    settings: Settings
    ping: timedelta
    """How often a silent stream says that it lives, so that no proxy cuts it."""
    exposition: Exposition


def context(request: Request) -> Context:
    """That of the API that took the request."""
    return cast("Context", request.app.state.context)


def _runs(request: Request) -> Runs:
    return context(request).runs


def _tenant(request: Request) -> str:
    """Whose runs the caller may see and start. The one place that knows."""
    return context(request).settings.tenant


async def _json_body(request: Request) -> JsonValue:
    """A body of JSON, strictly read: no NaN, no lone surrogates.

    Raises:
        UnsupportedMediaType: it doesn't say that it is JSON.
        BodyTooLarge: it is larger than `MAX_BODY`; the rest isn't read.
        MalformedBody: it is no JSON.
    """
    if (media_type := _media_type(request.headers)) != "application/json":
        raise UnsupportedMediaType(media_type)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                raise BodyTooLarge(MAX_BODY)
    except ClientDisconnect as error:
        raise MalformedBody("it broke off") from error
    try:
        return cast("JsonValue", from_json(bytes(body), allow_inf_nan=False))
    except ValueError as error:
        raise MalformedBody(str(error)) from error


def _media_type(headers: Mapping[str, str]) -> str | None:
    declared = headers.get("content-type")
    return None if declared is None else declared.partition(";")[0].strip().lower()


TheRuns = Annotated[Runs, Depends(_runs)]
Tenant = Annotated[str, Depends(_tenant)]
Body = Annotated[JsonValue, Depends(_json_body)]
