"""How much of a conversation the model sees.

Pure; imports nothing that does I/O.
"""

from dataclasses import dataclass

from orchestrator.compacting import Compacting
from orchestrator.errors import DefinitionError
from orchestrator.tool import MAX_RESULT

__all__ = ["SHOW", "View"]

SHOW = MAX_RESULT
"""Characters of a tool's result that a conversation shows at once: all that a tool returns that says nothing else."""

LEAST_SHOWN = 1_000
"""A page that is shorter isn't worth the call that asks for the next one; and what is kept inline is never cut."""


@dataclass(frozen=True, kw_only=True)
class View:
    """How much of a conversation its prompts show."""

    show: int = SHOW
    """Characters of a tool's result."""
    recall: bool = False
    """Whether the model may search what is no longer shown."""
    compacting: Compacting | None = None

    def __post_init__(self) -> None:
        if self.show < LEAST_SHOWN:
            raise DefinitionError(
                "show",
                problem=f"{self.show} characters of a result are too few to read it by",
                remedy=f"Give {LEAST_SHOWN:,} or more.",
            )
