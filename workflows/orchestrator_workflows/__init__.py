"""Workflows that ship with the orchestrator, each short enough to read in a minute."""

from orchestrator_workflows.answer import answer
from orchestrator_workflows.shipped import app

__all__ = ["answer", "app"]
