"""Activities: everything that a workflow does to the world. Each is metered, heartbeats and can be cancelled."""

from orchestrator.activities.books import LedgerActivities
from orchestrator.activities.conversations import ConversationActivities
from orchestrator.activities.generate import EngineActivities
from orchestrator.activities.metering import Meter
from orchestrator.activities.recorded import RecordActivities
from orchestrator.activities.retrieve import RetrievalActivities
from orchestrator.activities.servers import ServerActivities
from orchestrator.activities.tools import ToolActivities

__all__ = [
    "ConversationActivities",
    "EngineActivities",
    "LedgerActivities",
    "Meter",
    "RecordActivities",
    "RetrievalActivities",
    "ServerActivities",
    "ToolActivities",
]
