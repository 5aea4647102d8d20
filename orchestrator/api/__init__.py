"""The REST API: runs are started, watched, cancelled and billed over HTTP.

May import anything of `orchestrator` but `cli` and `local`; nothing imports it but them.
"""

from orchestrator.api.app import create_api
from orchestrator.api.problems import Problem
from orchestrator.api.server import serving

__all__ = ["Problem", "create_api", "serving"]
