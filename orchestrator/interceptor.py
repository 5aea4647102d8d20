"""Closes the bill of every run that had a context, however the workflow ends; hands it on where the run goes on."""

from typing import Any, NoReturn

from temporalio import workflow
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import FailureError, is_cancelled_exception
from temporalio.worker import (
    ContinueAsNewInput,
    ExecuteWorkflowInput,
    Interceptor,
    StartChildWorkflowInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from orchestrator.context import RunContext
from orchestrator.errors import OrchestratorError
from orchestrator.execution import INHERITANCE, TENANT
from orchestrator.steps import Inheritance, RunStatus

__all__ = ["BillingInterceptor"]


class BillingInterceptor(Interceptor):
    """For workers that run workflows."""

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002 - the name is Temporal's
    ) -> type[WorkflowInboundInterceptor]:
        return _CloseRun


class _CloseRun(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_HandOn(outbound))

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002
        try:
            result = await super().execute_workflow(input)
        except BaseException as error:
            if (ending := _ending(error)) is not None:
                await _close(ending, str(error))
            raise
        await _close(RunStatus.COMPLETED, None)
        return result


class _HandOn(WorkflowOutboundInterceptor):
    """Hands tenant, budget and bill to child workflows, and to the run that goes on after continue-as-new."""

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> Any:  # noqa: A002
        if (context := RunContext.existing()) is not None:
            inherited = context.bequest(child=input.id)
            input.headers = {**input.headers, INHERITANCE: _payload(inherited)}
            if input.search_attributes is None:
                input.search_attributes = TypedSearchAttributes([SearchAttributePair(TENANT, inherited.tenant)])
        return await super().start_child_workflow(input)

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:  # noqa: A002
        if (context := RunContext.existing()) is not None:
            input.headers = {**input.headers, INHERITANCE: _payload(context.bequest(child=None))}
        super().continue_as_new(input)


def _payload(inherited: Inheritance) -> Any:
    return workflow.payload_converter().to_payload(inherited)


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
