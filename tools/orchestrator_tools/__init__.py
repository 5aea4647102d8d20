"""Tools that ship with the orchestrator: hand them to an app with `Orchestrator(name, tools=[calculator])`.

`http_get(allow=[...])` and `files(folder)` make tools that may reach what they are granted, and nothing else.
"""

from orchestrator_tools.calculator import calculator
from orchestrator_tools.documents import list_documents, read_document
from orchestrator_tools.files import files
from orchestrator_tools.http_get import http_get
from orchestrator_tools.python import python
from orchestrator_tools.sandbox import PythonError, PythonResult, run_python
from orchestrator_tools.search import search_collection

__all__ = [
    "PythonError",
    "PythonResult",
    "calculator",
    "files",
    "http_get",
    "list_documents",
    "python",
    "read_document",
    "run_python",
    "search_collection",
]
