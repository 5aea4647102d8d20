"""How a plain async function becomes a genuine Temporal workflow definition.

Temporal's sandbox imports a workflow's class again by module and name, and wants a `run` whose qualified name lies
under the class. So the class made here takes the function's name, module, qualified name and docstring, and stands in
its place in the module.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

from orchestrator.budget import Budget
from orchestrator.context import RunContext
from orchestrator.errors import (
    DefinitionError,
    OrchestratorError,
)
from orchestrator.signature import ReasoningWorkflow, Signature
from orchestrator.tool import ToolOwner

__all__ = ["define"]

InT = TypeVar("InT")
OutT = TypeVar("OutT")


def define(
    function: Callable[[RunContext, InT], Awaitable[OutT]],
    *,
    app: ToolOwner,
    version: str,
    budget: Budget | None,
    pool: str,
    step_timeout: timedelta,
    check: Callable[[Any, Any], bool] | None,
    grants: Sequence[str] = (),
    cache: timedelta | None = None,
) -> type[ReasoningWorkflow[InT, OutT]]:
    """The workflow definition of a function.

    Raises:
        DefinitionError: it isn't async, isn't at module level, or its input or result is no JSON.
    """
    name = function.__name__
    signature = Signature(name, *_takes_and_returns(function))

    async def run(self: object, value: Any) -> Any:
        try:
            context = RunContext.current()
            result = await function(context, value)
            signature.check_result(result)
            if check is not None:
                context.judge(bool(check(value, result)))
        except (FailureError, OrchestratorError, workflow.ContinueAsNewError, asyncio.CancelledError):
            raise
        except Exception as error:
            # A bug in the function ends the run. Left alone, Temporal would replay it for ever.
            raise ApplicationError(
                f"{type(error).__name__}: {error}", type=type(error).__name__, non_retryable=True
            ) from error
        return result

    run.__annotations__ = {"value": signature.takes, "return": signature.returns}
    run.__qualname__ = f"{function.__qualname__}.run"
    run.__module__ = function.__module__
    namespace = {
        "__module__": function.__module__,
        "__qualname__": function.__qualname__,
        "__doc__": function.__doc__,
        "signature": signature,
        "orchestrator_app": app,
        "orchestrator_version": version,
        "orchestrator_budget": budget,
        "orchestrator_pool": pool,
        "orchestrator_step_timeout": step_timeout,
        "orchestrator_grants": tuple(grants),
        "orchestrator_cache": cache,
        "run": workflow.run(run),
    }
    return workflow.defn(name=name)(type(name, (ReasoningWorkflow,), namespace))


def _takes_and_returns(function: Callable[..., Any]) -> tuple[Any, Any]:
    what = f"workflow {function.__name__!r}"
    if not inspect.iscoroutinefunction(function):
        raise DefinitionError(what, problem="it isn't an async function", remedy="Write 'async def'.")
    if "<locals>" in function.__qualname__:
        raise DefinitionError(
            what,
            problem="it is defined inside a function, where a worker can't find it",
            remedy="Move it to the top level of its module.",
        )
    parameters = list(inspect.signature(function).parameters)
    if len(parameters) != 2:
        raise DefinitionError(
            what,
            problem=f"it takes {len(parameters)} parameters, not two",
            remedy="Take 'ctx: RunContext' and one input; put several values into a pydantic model.",
        )
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise DefinitionError(what, problem=str(error), remedy="Annotate with names of this module.") from error
    for part in (parameters[1], "return"):
        if part not in hints:
            raise DefinitionError(
                what, problem=f"{part!r} has no annotation", remedy="Annotate the input and the result."
            )
        if not workflow.unsafe.in_sandbox():
            _require_json(what, part, hints[part])
    return hints[parameters[1]], hints["return"]


def _require_json(what: str, part: str, annotation: Any) -> None:
    try:
        TypeAdapter(annotation).json_schema(mode="serialization" if part == "return" else "validation")
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise DefinitionError(
            what,
            problem=f"no JSON schema can be made of {part!r} ({str(error).splitlines()[0]})",
            remedy="Use JSON types or pydantic models.",
        ) from error
