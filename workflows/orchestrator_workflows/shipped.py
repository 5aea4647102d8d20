"""The app of the shipped workflows: `orchestrator dev`, `orchestrator run shipped:solve`."""

from orchestrator import Orchestrator
from orchestrator_tools import calculator, list_documents, python, read_document, search_collection

__all__ = ["app"]

app = Orchestrator(
    "shipped",
    tools=[calculator, list_documents, python, read_document, search_collection],
    passthrough=["orchestrator_tools", "simpleeval"],
)
