"""Holding the ledger against what the engines themselves counted: the sums must agree to the token.

Builds on the ledger's tables and on `orchestrator.engine.counters`; knows nothing of activities or Temporal.
"""

from orchestrator.reconciliation.keeping import sampling
from orchestrator.reconciliation.reconcile import reconcile
from orchestrator.reconciliation.sampling import Sampler
from orchestrator.reconciliation.values import Quantity, Reconciliation

__all__ = ["Quantity", "Reconciliation", "Sampler", "reconcile", "sampling"]
