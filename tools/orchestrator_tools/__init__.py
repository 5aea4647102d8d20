"""Tools that ship with the orchestrator: hand them to an app with `Orchestrator(name, tools=[calculator])`."""

from orchestrator_tools.calculator import calculator
from orchestrator_tools.search import search_collection

__all__ = ["calculator", "search_collection"]
