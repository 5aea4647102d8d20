"""What runs cost, under `/v1`."""

from typing import Annotated

from fastapi import APIRouter, Query

from orchestrator.api.dependencies import Tenant, TheRuns
from orchestrator.api.problems import InvalidRequest, documented
from orchestrator.errors import InvalidPeriod, UnknownName
from orchestrator.ledger import By, CostReport, timeframe

__all__ = ["router"]

router = APIRouter(prefix="/v1")

SINCE = "The first moment of the period: a date, an ISO 8601 time, or how long ago, as in `7d` or `24h`."
NO_NUL = r"^[^\x00]*$"
"""PostgreSQL takes no text with a NUL in it."""
UNTIL = "The first moment that is not in it any more, written in the same way."


@router.get("/costs", summary="See what runs cost", responses=documented(UnknownName, InvalidRequest, InvalidPeriod))
async def see_costs(
    runs: TheRuns,
    tenant: Tenant,
    by: Annotated[By, Query(description="What the lines are about.")] = By.WORKFLOW,
    since: Annotated[str | None, Query(description=SINCE, max_length=64)] = None,
    until: Annotated[str | None, Query(description=UNTIL, max_length=64)] = None,
    workflow: Annotated[str | None, Query(description="Only its runs.", max_length=255, pattern=NO_NUL)] = None,
    book: Annotated[
        str | None,
        Query(
            description="Price past calls by this price book, not by what was charged.", max_length=64, pattern=NO_NUL
        ),
    ] = None,
) -> CostReport:
    """What the caller's runs of a period cost, waste, failed runs and the share in idle GPUs included.

    A charge falls in the period in which it was settled, so periods that don't overlap add up.
    """
    return await runs.costs(by, timeframe(since, until), tenant=tenant, workflow=workflow, book=book)
