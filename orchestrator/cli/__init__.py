"""The command `orchestrator`."""

from orchestrator.cli.main import cli, main

__all__ = ["cli", "main"]
