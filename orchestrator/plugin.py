"""What Temporal's clients and workers are given: pydantic payloads, our modules in the sandbox, closed bills."""

import dataclasses
from collections.abc import Sequence

from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter
from temporalio.plugin import SimplePlugin
from temporalio.worker import WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from orchestrator.errors import OrchestratorError
from orchestrator.interceptor import BillingInterceptor

__all__ = ["PASSTHROUGH", "client_plugin", "workflow_plugin"]

PASSTHROUGH = (
    "orchestrator.ahead",
    "orchestrator.app",
    "orchestrator.approvals",
    "orchestrator.approving",
    "orchestrator.asking",
    "orchestrator.branches",
    "orchestrator.budget",
    "orchestrator.compacting",
    "orchestrator.context",
    "orchestrator.conversations",
    "orchestrator.definition",
    "orchestrator.errors",
    "orchestrator.execution",
    "orchestrator.extracting",
    "orchestrator.failures",
    "orchestrator.found",
    "orchestrator.funding",
    "orchestrator.images",
    "orchestrator.judging",
    "orchestrator.looking_back",
    "orchestrator.mapping",
    "orchestrator.messages",
    "orchestrator.offering",
    "orchestrator.passages",
    "orchestrator.paths",
    "orchestrator.prediction",
    "orchestrator.purse",
    "orchestrator.questions",
    "orchestrator.replies",
    "orchestrator.rerunning",
    "orchestrator.reruns",
    "orchestrator.signature",
    "orchestrator.standing",
    "orchestrator.steps",
    "orchestrator.strategies",
    "orchestrator.thinking",
    "orchestrator.tool",
    "orchestrator.toolservers",
    "orchestrator.transcript",
    "orchestrator.turns",
    "orchestrator.usage",
    "orchestrator.view",
    "orchestrator.watches",
)
"""Our modules that the sandbox shares between runs: pure code without module state, nothing that does I/O."""


def client_plugin() -> SimplePlugin:
    """For a client that starts runs or reads their results."""
    return SimplePlugin("orchestrator", data_converter=_with_pydantic)


def workflow_plugin(name: str, workflows: Sequence[type], passthrough: Sequence[str]) -> SimplePlugin:
    """For a client whose workers run an app's workflows, and for those workers."""
    modules = (*PASSTHROUGH, *passthrough)

    def runner(existing: WorkflowRunner | None) -> WorkflowRunner:
        if existing is None:
            restrictions = SandboxRestrictions.default.with_passthrough_modules(*modules)
            return SandboxedWorkflowRunner(restrictions=restrictions)
        if isinstance(existing, SandboxedWorkflowRunner):
            restrictions = existing.restrictions.with_passthrough_modules(*modules)
            return dataclasses.replace(existing, restrictions=restrictions)
        return existing

    return SimplePlugin(
        f"orchestrator.{name}",
        data_converter=_with_pydantic,
        interceptors=[BillingInterceptor()],
        workflows=workflows,
        workflow_runner=runner,
        workflow_failure_exception_types=[OrchestratorError],
    )


def _with_pydantic(existing: DataConverter | None) -> DataConverter:
    """Pydantic payloads, keeping a codec or external storage that the user has set."""
    if existing is None or existing == DataConverter.default:
        return pydantic_data_converter
    return dataclasses.replace(existing, payload_converter_class=pydantic_data_converter.payload_converter_class)
