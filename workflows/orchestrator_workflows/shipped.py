"""The app of the shipped workflows: `orchestrator dev answer`."""

from orchestrator import Orchestrator
from orchestrator_tools import calculator, search_collection

__all__ = ["app"]

app = Orchestrator("answer", tools=[calculator, search_collection], passthrough=["orchestrator_tools", "simpleeval"])
