"""The ledger: what every attempt of every paid step used and cost."""

from orchestrator.ledger.book import BillLine, RunRecord, WorkflowCost, bill, run_record, runs_of, workflow_costs
from orchestrator.ledger.charges import NOTHING, Attempt, Bound, Ledger, Replayed, Reservation
from orchestrator.ledger.prices import Price, PriceBook

__all__ = [
    "NOTHING",
    "Attempt",
    "BillLine",
    "Bound",
    "Ledger",
    "Price",
    "PriceBook",
    "Replayed",
    "Reservation",
    "RunRecord",
    "WorkflowCost",
    "bill",
    "run_record",
    "runs_of",
    "workflow_costs",
]
