"""Workflows that do what Temporal's sandbox forbids, and one that tells what the sandbox shares."""

import os
import random
import time
import uuid
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator import Orchestrator, Passage, Receipt, RunContext, Tool, ToolContext, Transcript, Usage
from orchestrator.errors import BudgetExceeded, OrchestratorError, ToolFailed, UnknownName
from orchestrator.messages import UserMessage
from orchestrator.signature import ReasoningWorkflow
from orchestrator.steps import GenerateResult

app = Orchestrator("impure")

MARK = object()
"""This module's own: another one wherever the module is imported anew."""

SHARED: dict[str, type[Any]] = {
    each.__name__: each
    for each in (
        BudgetExceeded, GenerateResult, OrchestratorError, Passage, ReasoningWorkflow, Receipt, RunContext, Tool,
        ToolContext, ToolFailed, Transcript, UnknownName, Usage, UserMessage,
    )
}  # fmt: skip

IMPURE: dict[str, Callable[[], object]] = {
    "datetime.now": datetime.now,
    "os.urandom": lambda: os.urandom(1),
    "Path.read_text": lambda: Path(__file__).read_text(),
    "random.random": lambda: random.random(),
    "time.time": lambda: time.time(),
    "uuid.uuid4": lambda: uuid.uuid4(),
}


@app.workflow()
async def identities(ctx: RunContext, value: str) -> dict[str, int]:
    """Which objects the run sees."""
    return {"MARK": id(MARK), **{name: id(each) for name, each in SHARED.items()}}


@app.workflow()
async def impure(ctx: RunContext, what: str) -> str:
    """Does it."""
    return str(IMPURE[what]())
