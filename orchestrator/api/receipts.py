"""The itemised receipt of a run, under `/v1`."""

from typing import Annotated

from fastapi import APIRouter, Query

from orchestrator.api.dependencies import Tenant, TheRuns
from orchestrator.api.problems import InvalidRequest, documented
from orchestrator.errors import DamagedLedger, NoReceiptYet, UnknownName
from orchestrator.ledger import RunReceipt

__all__ = ["router"]

router = APIRouter(prefix="/v1")


@router.get(
    "/runs/{run_id}/receipt",
    summary="See a run's receipt",
    responses=documented(UnknownName, NoReceiptYet, InvalidRequest, DamagedLedger),
)
async def see_receipt(
    run_id: str,
    runs: TheRuns,
    tenant: Tenant,
    verify: Annotated[bool, Query(description="Compute seals, totals and costs anew, as `verification` says.")] = False,
) -> RunReceipt:
    """What a run was charged for, attempt by attempt, with the runs that it started.

    Its `fingerprint` is the head of a hash chain over its charges. Kept elsewhere, it proves later that what it covered
    is as it was: it stays the head of one of `seals`, and `verification` finds nothing changed.
    """
    return await runs.receipt(run_id, tenant=tenant, verified=verify)
