"""What a workflow takes and returns, and the class that stands in its function's place.

Pure; imports nothing that does I/O.
"""

from datetime import timedelta
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from orchestrator.budget import Budget
from orchestrator.errors import InvalidInput, OutputNotSerializable, OutputTooLarge
from orchestrator.tool import ToolOwner, problem_of

__all__ = ["ReasoningWorkflow", "Signature"]

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
    orchestrator_version: ClassVar[str]
    orchestrator_budget: ClassVar[Budget | None]
    orchestrator_pool: ClassVar[str]
    orchestrator_step_timeout: ClassVar[timedelta]
    orchestrator_grants: ClassVar[tuple[str, ...]]

    async def run(self, value: InT) -> OutT:
        """Runs the workflow; started by Temporal."""
        raise NotImplementedError
