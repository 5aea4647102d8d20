"""Closes the bill of every run that had a context, however the workflow ends."""

from typing import Any

from temporalio import workflow
from temporalio.exceptions import FailureError, is_cancelled_exception
from temporalio.worker import (
    ExecuteWorkflowInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from orchestrator.context import RunContext
from orchestrator.errors import OrchestratorError
from orchestrator.steps import RunStatus

__all__ = ["BillingInterceptor"]


class BillingInterceptor(Interceptor):
    """For workers that run workflows."""

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002 - the name is Temporal's
    ) -> type[WorkflowInboundInterceptor]:
        return _CloseRun


class _CloseRun(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002
        try:
            result = await super().execute_workflow(input)
        except BaseException as error:
            if (ending := _ending(error)) is not None:
                await _close(ending, str(error))
            raise
        await _close(RunStatus.COMPLETED, None)
        return result


def _ending(error: BaseException) -> RunStatus | None:
    """How the workflow ends with this; `None` where it goes on: as a new run, or as a task that is tried again."""
    if isinstance(error, workflow.ContinueAsNewError):
        return None
    if is_cancelled_exception(error):
        return RunStatus.CANCELLED
    return RunStatus.FAILED if isinstance(error, FailureError | OrchestratorError) else None


async def _close(status: RunStatus, error: str | None) -> None:
    if (context := RunContext.existing()) is not None:
        await context.close(status, error)
