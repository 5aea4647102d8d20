"""GPU attribution: what each call took of its engine's GPUs, so that all calls, idling and overhead are the whole bill.

`work`, `clock`, `estimator` and `weights` are pure; `windows` is the job that applies them to the ledger.
"""

from orchestrator.attribution.estimator import Evidence, Split, split
from orchestrator.attribution.keeping import attributing
from orchestrator.attribution.provisional import Provisional
from orchestrator.attribution.report import GpuReport, GpuTime, gpu_report
from orchestrator.attribution.weights import Fit, Method, Moments
from orchestrator.attribution.windows import Advanced, Attribution
from orchestrator.attribution.work import ASSUMED, Call, CallKey, Stages, Weights, stages_of

__all__ = [
    "ASSUMED",
    "Advanced",
    "Attribution",
    "Call",
    "CallKey",
    "Evidence",
    "Fit",
    "GpuReport",
    "GpuTime",
    "Method",
    "Moments",
    "Provisional",
    "Split",
    "Stages",
    "Weights",
    "attributing",
    "gpu_report",
    "split",
    "stages_of",
]
