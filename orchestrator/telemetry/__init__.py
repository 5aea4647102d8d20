"""Telemetry: what Prometheus reads, and traces. Figures for people who watch; the ledger is what is paid by."""

from orchestrator.telemetry.books import Books
from orchestrator.telemetry.drift import Drift
from orchestrator.telemetry.engines import Engines
from orchestrator.telemetry.exposition import CONTENT_TYPE, Exposition, Source, serving_metrics
from orchestrator.telemetry.metrics import Metrics
from orchestrator.telemetry.observer import Telemetry
from orchestrator.telemetry.seen import SeenStep

__all__ = [
    "CONTENT_TYPE",
    "Books",
    "Drift",
    "Engines",
    "Exposition",
    "Metrics",
    "SeenStep",
    "Source",
    "Telemetry",
    "serving_metrics",
]
