"""The baseline: plain Temporal with no-op activities.

Imports nothing of ours, since Temporal's sandbox imports a workflow's module again for every run.
"""

from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow

__all__ = ["BareSteps", "bare_step"]


@dataclass
class Nothing:
    """What a bare step takes and returns."""

    value: str = ""


@activity.defn
async def bare_step(value: Nothing) -> Nothing:
    """A no-op activity."""
    return value


@workflow.defn
class BareSteps:
    """The baseline: plain Temporal, the same number of no-op activities."""

    @workflow.run
    async def run(self, steps: int) -> int:
        """Runs the steps one after the other."""
        for _ in range(steps):
            await workflow.execute_activity(
                bare_step, Nothing(), task_queue="bare-steps", start_to_close_timeout=timedelta(seconds=30)
            )
        return steps
