"""Stored runs of a workflow, run again in another way, with tools and retrieval answered from their record."""

from orchestrator.backtests.accuracy import Check
from orchestrator.backtests.backtest import Backtest, BacktestReport, Pair, Plan, Side, Skipped
from orchestrator.backtests.compare import Difference, Metric
from orchestrator.backtests.gate import Condition, condition
from orchestrator.backtests.originals import Original, Selection
from orchestrator.backtests.variant import Variant, variant_of

__all__ = [
    "Backtest",
    "BacktestReport",
    "Check",
    "Condition",
    "Difference",
    "Metric",
    "Original",
    "Pair",
    "Plan",
    "Selection",
    "Side",
    "Skipped",
    "Variant",
    "condition",
    "variant_of",
]
