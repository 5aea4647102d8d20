"""What a tool's `predict` is told, so that it can say which call the model will make next.

Pure; imports nothing that does I/O.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Called", "Predict", "Said"]


@dataclass(frozen=True, kw_only=True)
class Called:
    """A tool call that the model made."""

    tool: str
    arguments: str
    """JSON text, as the model wrote it."""
    result: str | None
    """What the model reads of it; `None` where that is too long to travel through the run's history."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """What is known when the model begins its next reply."""

    question: str
    """What it was asked."""
    calls: tuple[Called, ...] = ()
    """What it called since, in order."""


Predict = Callable[[Said], Mapping[str, Any] | None]
"""The arguments of a tool that the model is likely to call in its next reply; `None` where nothing is likely.

Evaluated in the workflow, and again whenever that is replayed: no I/O, no clock, no chance, only what it is told.
"""
