"""What workers do with tool servers, through the official SDK of the Model Context Protocol.

Needs the extra `mcp`; only `orchestrator.worker` imports it, and only for an app that has servers.
"""

from orchestrator.mcp.connection import Connection
from orchestrator.mcp.contents import Answer
from orchestrator.mcp.session import CallFailed

__all__ = ["Answer", "CallFailed", "Connection"]
