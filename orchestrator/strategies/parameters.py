"""What the numbers of strategies may be: anything else is refused where the strategy is written."""

from typing import Annotated

from pydantic import Field

from orchestrator.strategies.machine import Trial

__all__ = ["Count", "Share", "accepted"]

Count = Annotated[int, Field(ge=1)]
"""Of drafts, steps or tokens: none at all is no strategy."""
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


def accepted(trial: Trial, least: float) -> bool:
    """Whether an answer passed, or, where the judge can't tell that, is scored at least so high."""
    if not trial.answered or trial.passed is not None:
        return trial.answered and bool(trial.passed)
    return trial.score is not None and trial.score >= least
