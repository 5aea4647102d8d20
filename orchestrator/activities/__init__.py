"""Activities: everything that a workflow does to the world. Each is metered, heartbeats and can be cancelled."""

from orchestrator.activities.books import LedgerActivities
from orchestrator.activities.generate import EngineActivities
from orchestrator.activities.metering import Meter
from orchestrator.activities.retrieve import RetrievalActivities
from orchestrator.activities.tools import ToolActivities

__all__ = ["EngineActivities", "LedgerActivities", "Meter", "RetrievalActivities", "ToolActivities"]
