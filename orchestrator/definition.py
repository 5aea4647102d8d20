"""How a plain async function becomes a genuine Temporal workflow definition.

Temporal's sandbox imports a workflow's class again by module and name, and wants a `run` whose qualified name lies
under the class. So the class made here takes the function's name, module, qualified name and docstring, and stands in
its place in the module.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar, get_type_hints

from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from pydantic_core import PydanticSerializationError
from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

from orchestrator.budget import Budget
from orchestrator.context import RunContext
from orchestrator.errors import (
    DefinitionError,
    InvalidInput,
    OrchestratorError,
    OutputNotSerializable,
    OutputTooLarge,
)
from orchestrator.tool import ToolOwner, problem_of

__all__ = ["ReasoningWorkflow", "Signature", "define"]

InT = TypeVar("InT")
OutT = TypeVar("OutT")

MAX_RESULT = 1_900_000
"""Bytes; Temporal refuses a payload of 2 MiB."""


class Signature:
    """What a workflow takes and returns."""

    def __init__(self, name: str, takes: Any, returns: Any) -> None:
        self.name = name
        self.takes = takes
        self.returns = returns

    @cached_property
    def input(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.takes)

    @cached_property
    def output(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.returns)

    @property
    def input_schema(self) -> dict[str, JsonValue]:
        """JSON Schema of the input."""
        return self.input.json_schema()

    @property
    def output_schema(self) -> dict[str, JsonValue]:
        """JSON Schema of the result."""
        return self.output.json_schema(mode="serialization")

    def parse(self, value: JsonValue) -> Any:
        """An input out of JSON.

        Raises:
            InvalidInput: it breaks the schema.
        """
        try:
            return self.input.validate_python(value)
        except ValidationError as error:
            raise InvalidInput(f"workflow {self.name!r}", problem_of(error)) from error

    def check_result(self, value: Any) -> None:
        """Refuses a result that Temporal couldn't keep, which it would otherwise try to for ever.

        Raises:
            OutputNotSerializable: it isn't what the annotation says, or is no JSON.
            OutputTooLarge: it is too large for a payload.
        """
        what = f"workflow {self.name!r}"
        try:
            size = len(self.output.dump_json(value, warnings="error"))
        except PydanticSerializationError as error:
            raise OutputNotSerializable(what, f"{type(value).__name__} ({error})") from error
        if size > MAX_RESULT:
            raise OutputTooLarge(what, size, MAX_RESULT)


class ReasoningWorkflow(Generic[InT, OutT]):
    """What `@app.workflow` puts in a function's place: a Temporal workflow definition."""

    signature: ClassVar[Signature]
    orchestrator_app: ClassVar[ToolOwner]
    orchestrator_budget: ClassVar[Budget | None]
    orchestrator_pool: ClassVar[str]
    orchestrator_step_timeout: ClassVar[timedelta]

    async def run(self, value: InT) -> OutT:
        """Runs the workflow; started by Temporal."""
        raise NotImplementedError


def define(
    function: Callable[[RunContext, InT], Awaitable[OutT]],
    *,
    app: ToolOwner,
    budget: Budget | None,
    pool: str,
    step_timeout: timedelta,
) -> type[ReasoningWorkflow[InT, OutT]]:
    """The workflow definition of a function.

    Raises:
        DefinitionError: it isn't async, isn't at module level, or its input or result is no JSON.
    """
    name = function.__name__
    signature = Signature(name, *_takes_and_returns(function))

    async def run(self: object, value: Any) -> Any:
        try:
            result = await function(RunContext.current(), value)
            signature.check_result(result)
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
        "orchestrator_budget": budget,
        "orchestrator_pool": pool,
        "orchestrator_step_timeout": step_timeout,
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
