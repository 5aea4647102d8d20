"""Workflows that ship with the orchestrator, each short enough to read in a minute."""

from orchestrator_workflows.answer import answer
from orchestrator_workflows.code import code
from orchestrator_workflows.debate import debate
from orchestrator_workflows.extract import extract
from orchestrator_workflows.judge import judge
from orchestrator_workflows.research import research
from orchestrator_workflows.shipped import app
from orchestrator_workflows.solve import solve

__all__ = ["answer", "app", "code", "debate", "extract", "judge", "research", "solve"]
