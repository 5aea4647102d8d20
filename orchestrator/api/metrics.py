"""`GET /metrics`, for Prometheus: no part of the REST API, and not in its description."""

from fastapi import APIRouter, Request, Response

from orchestrator.api.dependencies import context
from orchestrator.telemetry import CONTENT_TYPE

__all__ = ["router"]

router = APIRouter()


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """What the process counted, and what the ledger says now."""
    return Response(await context(request).exposition.text(), media_type=CONTENT_TYPE)
