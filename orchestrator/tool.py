"""Tools: typed async functions that a model or a workflow may call.

Pure; imports nothing that does I/O. A tool's schema comes from its signature and docstring.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from inspect import Parameter
from typing import Annotated, Any, Concatenate, Generic, Literal, ParamSpec, Protocol, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from orchestrator.errors import DefinitionError, InvalidInput
from orchestrator.messages import ToolSpec
from orchestrator.passages import SearchResult

__all__ = ["MAX_RESULT", "Effect", "Tool", "ToolContext", "ToolOwner", "problem_of"]

P = ParamSpec("P")
R = TypeVar("R")

Effect = Literal["read", "idempotent", "write"]
"""What calling a tool does to the world: nothing, the same however often, or something more each time."""

MAX_RESULT = 64 * 1024
"""Bytes of JSON that a tool may return, where it says nothing else."""


class ToolContext(Protocol):
    """What a tool may use while it runs; not a `RunContext`, so that a workflow step in a tool is a type error."""

    @property
    def tenant(self) -> str:
        """Whose run this is."""
        ...

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this call; hand it to the system that a `write` tool writes to."""
        ...

    def heartbeat(self) -> None:
        """Tells Temporal that a long tool is alive. Called for you every second."""
        ...

    async def retrieve(self, collection: str, query: str, *, k: int = 5) -> SearchResult:
        """The `k` best passages of a collection of the run's tenant."""
        ...


class ToolOwner(Protocol):
    """An app, as its own runs see it."""

    @property
    def name(self) -> str:
        """Its tools' queue is named after it."""
        ...

    @property
    def tools(self) -> "Sequence[Tool[..., Any]]":
        """The tools that its workers run."""
        ...


def problem_of(error: ValidationError) -> str:
    """A validation error in one line, naming each field."""
    return "; ".join(
        f"{'.'.join(map(str, item['loc'])) or 'value'}: {item['msg']}" for item in error.errors(include_url=False)
    )


class Tool(Generic[P, R]):
    """A tool of an app: made by `@app.tool`, called by the model or by `ctx.call`."""

    def __init__(
        self,
        function: Callable[Concatenate[ToolContext, P], Awaitable[R]],
        *,
        effect: Effect,
        timeout: timedelta,
        max_result: int,
        price: Decimal | None = None,
        task_queue: str | None,
    ) -> None:
        self.function = function
        self.name = function.__name__
        self.effect: Effect = effect
        self.timeout = timeout
        self.max_result = max_result
        """Bytes of JSON that a result may have."""
        self.price = price
        """US dollars for one attempt, whatever becomes of it; `None` where it costs nothing."""
        self.task_queue = task_queue
        """Where it runs, if not on the queue of the tools of the app that calls it."""
        what = f"tool {self.name!r}"
        if not inspect.iscoroutinefunction(function):
            raise DefinitionError(what, problem="it isn't an async function", remedy="Write 'async def'.")
        if timeout <= timedelta(0):
            raise DefinitionError(what, problem="its timeout isn't positive", remedy="Give timeout=timedelta(...).")
        if price is not None and not (price.is_finite() and price >= 0 and price == round(price, 9)):
            raise DefinitionError(
                what,
                problem=f"its price {price} is no amount of US dollars",
                remedy="Give a Decimal of 0 or more, with 9 decimals at most.",
            )
        parameters = list(inspect.signature(function).parameters.values())
        if not parameters or parameters[0].kind not in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD):
            raise DefinitionError(
                what, problem="it takes no context", remedy="Make its first parameter 'ctx: ToolContext'."
            )
        try:
            hints = get_type_hints(function, include_extras=True)
            self.arguments = _arguments_model(self.name, parameters[1:], hints, _parameter_docs(function))
            self.result: TypeAdapter[Any] = TypeAdapter(hints.get("return", Any))
            schema = self.arguments.model_json_schema()
        except (NameError, TypeError, PydanticSchemaGenerationError, PydanticUserError) as error:
            raise DefinitionError(
                what,
                problem=f"no JSON schema can be made of its signature ({str(error).splitlines()[0]})",
                remedy="Annotate every parameter with JSON types or pydantic models.",
            ) from error
        schema.pop("title", None)
        for prop in schema.get("properties", {}).values():
            prop.pop("title", None)
        self.spec = ToolSpec(name=self.name, description=_summary(function), parameters=schema)

    def __repr__(self) -> str:
        return f"Tool({self.name!r}, effect={self.effect!r}, timeout={self.timeout!r})"

    @property
    def price_nano(self) -> int:
        """`price` in the ledger's unit."""
        return 0 if self.price is None else int(self.price.scaleb(9))

    @property
    def attempts(self) -> int:
        """How often Temporal may try one call: a write is never repeated blindly."""
        return 1 if self.effect == "write" else 3

    def bind(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The arguments of a call as JSON text.

        Raises:
            InvalidInput: they don't fit the signature.
        """
        try:
            bound = inspect.signature(self.function).bind(None, *args, **kwargs)  # pyright: ignore[reportArgumentType]
            values = dict(list(bound.arguments.items())[1:])
            return self.arguments(**values).model_dump_json(by_alias=True)
        except (TypeError, ValidationError) as error:
            problem = problem_of(error) if isinstance(error, ValidationError) else str(error)
            raise InvalidInput(f"tool {self.name!r}", problem) from error

    def parse(self, arguments: str) -> dict[str, Any]:
        """Keyword arguments out of JSON text.

        Raises:
            InvalidInput: it is no JSON, or it breaks the schema.
        """
        try:
            model = self.arguments.model_validate_json(arguments or "{}")
        except ValidationError as error:
            raise InvalidInput(f"tool {self.name!r}", problem_of(error)) from error
        return {field.alias or name: getattr(model, name) for name, field in type(model).model_fields.items()}


def _arguments_model(
    name: str, parameters: list[Parameter], hints: dict[str, Any], docs: dict[str, str]
) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for number, parameter in enumerate(parameters):
        if parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
            raise TypeError(f"'{parameter}' can't be described; name every parameter")
        if parameter.kind is Parameter.POSITIONAL_ONLY:
            raise TypeError(f"parameter {parameter.name!r} can't be given by name; drop the '/'")
        if parameter.name not in hints:
            raise TypeError(f"parameter {parameter.name!r} has no annotation")
        hint = hints[parameter.name]
        if doc := docs.get(parameter.name):
            hint = Annotated[hint, Field(description=doc)]
        default = ... if parameter.default is Parameter.empty else parameter.default
        # Under an alias, a parameter may have a name that pydantic keeps for itself, such as `json` or `copy`.
        fields[f"p{number}"] = (hint, Field(default, alias=parameter.name))
    return create_model(f"{name}_arguments", __config__=ConfigDict(extra="forbid"), **fields)


def _summary(function: Callable[..., object]) -> str:
    return (inspect.getdoc(function) or "").split("\nArgs:")[0].strip()


def _parameter_docs(function: Callable[..., object]) -> dict[str, str]:
    """Descriptions from a Google-style `Args:` section."""
    _, _, section = (inspect.getdoc(function) or "").partition("\nArgs:\n")
    section = re.split(r"\n(?=\S)", section)[0]
    return {
        match[1]: " ".join(match[2].split())
        for match in re.finditer(r"^ {4}(\w+)(?: \([^)]*\))?:((?:.*)(?:\n {8,}.*)*)", section, re.MULTILINE)
    }
