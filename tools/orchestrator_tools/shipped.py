"""The app on which the shipped tools are declared; they run on the queue of whatever app uses them."""

from orchestrator import Orchestrator

__all__ = ["shipped"]

shipped = Orchestrator("shipped-tools")
