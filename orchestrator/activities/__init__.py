"""Activities: everything that a workflow does to the world. Each is metered, heartbeats and can be cancelled."""

from orchestrator.activities.close import CloseActivities
from orchestrator.activities.generate import EngineActivities
from orchestrator.activities.metering import Meter
from orchestrator.activities.retrieve import RetrievalActivities
from orchestrator.activities.tools import ToolActivities

__all__ = ["CloseActivities", "EngineActivities", "Meter", "RetrievalActivities", "ToolActivities"]
