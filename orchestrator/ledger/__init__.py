"""The ledger: what every attempt of every paid step used and cost."""

from orchestrator.ledger.accounts import (
    NOTHING,
    Account,
    Bound,
    Period,
    clear_limit,
    set_limit,
    tenant_limits,
)
from orchestrator.ledger.book import BillLine, RunRecord, bill, run_record, runs_of
from orchestrator.ledger.cells import By
from orchestrator.ledger.charges import Kind, Ledger, Replayed, Reservation, Settlement
from orchestrator.ledger.focus import focus_rows
from orchestrator.ledger.pricebooks import Added, NewPrice, PriceRow, add_prices, prices_of
from orchestrator.ledger.prices import FREE, FROM_CACHE, Price, PriceBook
from orchestrator.ledger.receipts import (
    AccountState,
    Amounts,
    AttemptReceipt,
    CorrectionReceipt,
    RunReceipt,
    StepReceipt,
    UnitPrices,
    run_receipt,
)
from orchestrator.ledger.reports import CostLine, CostReport, Unpriced, Waste, cost_report
from orchestrator.ledger.rows import Attempt
from orchestrator.ledger.seals import Seal
from orchestrator.ledger.sweep import Fact, Facts, Sweeper, Swept
from orchestrator.ledger.timeframes import Timeframe, timeframe
from orchestrator.ledger.verification import Break, BreakKind, Check, CheckName, Verification, verify

__all__ = [
    "FREE",
    "FROM_CACHE",
    "NOTHING",
    "Account",
    "AccountState",
    "Added",
    "Amounts",
    "Attempt",
    "AttemptReceipt",
    "BillLine",
    "Bound",
    "Break",
    "BreakKind",
    "By",
    "Check",
    "CheckName",
    "CorrectionReceipt",
    "CostLine",
    "CostReport",
    "Fact",
    "Facts",
    "Kind",
    "Ledger",
    "NewPrice",
    "Period",
    "Price",
    "PriceBook",
    "PriceRow",
    "Replayed",
    "Reservation",
    "RunReceipt",
    "RunRecord",
    "Seal",
    "Settlement",
    "StepReceipt",
    "Sweeper",
    "Swept",
    "Timeframe",
    "UnitPrices",
    "Unpriced",
    "Verification",
    "Waste",
    "add_prices",
    "bill",
    "clear_limit",
    "cost_report",
    "focus_rows",
    "prices_of",
    "run_receipt",
    "run_record",
    "runs_of",
    "set_limit",
    "tenant_limits",
    "timeframe",
    "verify",
]
