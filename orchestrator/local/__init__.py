"""The local stack: the real Temporal server and the real SGLang on this machine, for `dev`, `demo` and the tests.

An edge: it may import everything but `orchestrator.api` and `orchestrator.cli`, and only they import it.
"""

from orchestrator.local.doctor import Check, CheckState, examine
from orchestrator.local.processes import PartNotReady, PartStopped
from orchestrator.local.progress import Progress
from orchestrator.local.report import PartState, Report
from orchestrator.local.sglang import EngineServer, RunningEngine, prepare_model
from orchestrator.local.stack import LocalStack, local_stack
from orchestrator.local.temporal import RunningTemporal, TemporalServer

__all__ = [
    "Check",
    "CheckState",
    "EngineServer",
    "LocalStack",
    "PartNotReady",
    "PartState",
    "PartStopped",
    "Progress",
    "Report",
    "RunningEngine",
    "RunningTemporal",
    "TemporalServer",
    "examine",
    "local_stack",
    "prepare_model",
]
