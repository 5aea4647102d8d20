"""A branch: one of several ways to an answer, whose steps are named and counted, so that it can be thrown away.

Deterministic.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from temporalio import workflow

from orchestrator.budget import Allowance
from orchestrator.steps import GenerateResult
from orchestrator.usage import Receipt
from orchestrator.watches import Watch

__all__ = ["Branch"]


@dataclass(kw_only=True)
class Branch:
    """How the engine steps of one branch are taken, and what they were."""

    name: str
    """Unique within the run; its steps are named after it."""
    pool: str | None
    """The engines to ask, where not those of the run."""
    measure: bool
    watch: Watch | None
    limit: Callable[[], Allowance | None]
    """What its next step may use at most."""
    budget_line: Callable[[], str] | None = None
    """What the model is told of the budget after each of its tool calls; `None` where it isn't."""
    steps: list[str] = field(default_factory=list[str])
    """Its engine steps so far, as the ledger names them; one that was cancelled too."""
    receipt: Receipt = field(default_factory=Receipt)
    """Of those that have ended."""

    @property
    def upcoming(self) -> str:
        """The id that its next step will have."""
        return f"{self.name}.{len(self.steps) + 1}"

    def next_step(self) -> str:
        """Names a step before it is taken, so that it can be discarded whatever becomes of it."""
        activity = self.upcoming
        self.steps.append(f"{workflow.info().run_id}:{activity}")
        return activity

    def paid(self, result: GenerateResult) -> None:
        """Counts a step that has ended."""
        self.receipt += result.receipt
