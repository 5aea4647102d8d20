"""What a run will cost before it is started: from the runs that the ledger knows, and the queues as they stand."""

from orchestrator.quotes.figures import CountSpread, TimeSpread, UsdSpread
from orchestrator.quotes.inputs import InputEffect
from orchestrator.quotes.past import Basis
from orchestrator.quotes.queues import PoolLoad, QueueLoad, Waiting
from orchestrator.quotes.quote import Confidence, Input, PathShare, Quote, Quotes, Subject, require_history

__all__ = [
    "Basis",
    "Confidence",
    "CountSpread",
    "Input",
    "InputEffect",
    "PathShare",
    "PoolLoad",
    "QueueLoad",
    "Quote",
    "Quotes",
    "Subject",
    "TimeSpread",
    "UsdSpread",
    "Waiting",
    "require_history",
]
