"""The SQL database: its tables and how to reach it. The modules that own the data import it; words and flow don't."""

from orchestrator.database.connect import Database, now

__all__ = ["Database", "now"]
