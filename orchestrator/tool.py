"""Tools: typed async functions that a model or a workflow may call.

Pure; imports nothing that does I/O. A tool's schema comes from its signature and docstring.
"""

import inspect
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from decimal import Decimal
from inspect import Parameter
from typing import (
    Annotated,
    Any,
    ClassVar,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    TypeVar,
    cast,
    get_args,
    get_type_hints,
)

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from orchestrator.approvals import Approval, Approvals, Effect
from orchestrator.errors import DefinitionError, InvalidInput
from orchestrator.images import Image
from orchestrator.messages import ToolSpec
from orchestrator.passages import SearchResult
from orchestrator.prediction import Predict

__all__ = ["MAX_RESULT", "Effect", "Tool", "ToolContext", "ToolOwner", "problem_of", "require_price"]

P = ParamSpec("P")
R = TypeVar("R")

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

    async def put_image(self, data: bytes, media_type: str | None = None) -> Image:
        """Keeps a picture for the run's tenant. What it returns is small: a tool's result, or a part of one.

        Args:
            media_type: what its bytes are said to be, of `image/png`, `image/jpeg`, `image/webp` and `image/gif`; by
                default whatever they are.

        Raises:
            InvalidInput: they are none of these, or another one, or more than 10 MiB.
        """
        ...

    async def documents(self, collection: str, *, after: str = "", limit: int = 100) -> Sequence[str]:
        """Names of the documents of a collection of the run's tenant, in order, from behind a name on."""
        ...

    async def document(self, collection: str, name: str) -> str:
        """The text of one of them."""
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

    @property
    def approvals(self) -> Approvals:
        """What becomes of the tool calls that the model wants."""
        ...


def require_price(what: str, price: Decimal | None) -> None:
    """Refuses what is no price.

    Raises:
        DefinitionError: it is negative, or finer than the ledger.
    """
    if price is not None and not (price.is_finite() and price >= 0 and price == round(price, 9)):
        raise DefinitionError(
            what,
            problem=f"its price {price} is no amount of US dollars",
            remedy="Give a Decimal of 0 or more, with 9 decimals at most.",
        )


def problem_of(error: ValidationError) -> str:
    """A validation error in one line, naming each field."""
    return "; ".join(
        f"{'.'.join(map(str, item['loc'])) or 'value'}: {item['msg']}" for item in error.errors(include_url=False)
    )


class Tool(Generic[P, R]):
    """A tool of an app: made by `@app.tool`, called by the model or by `ctx.call`."""

    timeout_setting: ClassVar[str] = "@app.tool(timeout=...)"
    """Where its timeout is set."""
    cache: timedelta | None = None
    """How old a kept result may be that is handed out in place of a call; `None`: none is kept."""
    predict: Predict | None = None
    """Says which call the model is likely to make next, so that it is made while the model still writes."""

    def __init__(
        self,
        function: Callable[Concatenate[ToolContext, P], Awaitable[R]],
        *,
        effect: Effect,
        timeout: timedelta,
        max_result: int,
        price: Decimal | None = None,
        task_queue: str | None,
        approval: Approval | None = None,
        cache: timedelta | None = None,
        cache_version: str | None = None,
        predict: Predict | None = None,
    ) -> None:
        self.function = function
        self.name = function.__name__
        self.effect: Effect = effect
        self.approval: Approval | None = approval
        """What becomes of the model's calls of it; `None`: what the app's approvals say of its effect."""
        self.timeout = timeout
        self.max_result = max_result
        """Bytes of JSON that a result may have."""
        self.price = price
        """US dollars for one attempt, whatever becomes of it; `None` where it costs nothing."""
        self.task_queue = task_queue
        """Where it runs, if not on the queue of the tools of the app that calls it."""
        self.cache, self.cache_version, self.predict = cache, cache_version, predict
        what = f"tool {self.name!r}"
        if not inspect.iscoroutinefunction(function):
            raise DefinitionError(what, problem="it isn't an async function", remedy="Write 'async def'.")
        for given, kind in ((effect, Effect), (approval, Approval)):
            if given is not None and given not in get_args(kind):
                raise DefinitionError(
                    what, problem=f"it can't be {given!r}", remedy=f"Choose one of {', '.join(get_args(kind))}."
                )
        if timeout <= timedelta(0):
            raise DefinitionError(what, problem="its timeout isn't positive", remedy="Give timeout=timedelta(...).")
        require_price(what, price)
        self._require_repeatable(what)
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
            if cache is not None:
                self.result.json_schema()
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
    def activity(self) -> str:
        """The name of the activity that calls it."""
        return self.name

    @property
    def patience(self) -> timedelta:
        """How long Temporal waits for one attempt."""
        return self.timeout

    @property
    def price_nano(self) -> int:
        """`price` in the ledger's unit."""
        return 0 if self.price is None else int(self.price.scaleb(9))

    @property
    def attempts(self) -> int:
        """How often Temporal may try one call: a write is never repeated blindly."""
        return 1 if self.effect == "write" else 3

    @property
    def fingerprint(self) -> str:
        """Changes with what results that were kept depend on: its schemas, and the version given with `cache`."""
        return json.dumps([self.spec.model_dump(mode="json"), self.result.json_schema(), self.cache_version])

    def canonical(self, arguments: str) -> str:
        """The arguments of a call as JSON text, equal for calls that ask the same.

        Spelling, order and defaults make no difference. Arguments that JSON can't hold, such as secrets, are only the
        same where they are written the same.

        Raises:
            InvalidInput: it is no JSON, or it breaks the schema.
        """
        given = self._validated(arguments)
        try:
            text = _sorted(to_jsonable_python(_with_lists(given.model_dump(by_alias=True))))
            if self.arguments.model_validate_json(text) == given:
                return text
        except (PydanticSerializationError, ValidationError):
            pass
        return _sorted(json.loads(arguments or "{}"))

    def _require_repeatable(self, what: str) -> None:
        """Refuses to keep or to predict what can't be called twice."""
        for given, name in ((self.cache, "cache"), (self.predict, "predict")):
            if given is not None and self.effect != "read":
                problem = f"its effect is {self.effect!r}, so that a call can't be left out, or made for nothing"
                raise DefinitionError(what, problem=problem, remedy=f'Leave {name}= out, or say effect="read".')
        if self.cache is not None and self.cache <= timedelta(0):
            raise DefinitionError(what, problem="its cache lasts no time", remedy="Give cache=timedelta(...).")
        if self.cache is None and self.cache_version is not None:
            raise DefinitionError(
                what, problem="it has a cache_version and keeps nothing", remedy="Give cache=timedelta(...) with it."
            )
        if self.predict is not None and (not callable(self.predict) or inspect.iscoroutinefunction(self.predict)):
            raise DefinitionError(
                what,
                problem="its predict is no plain function",
                remedy="Write 'def predict(said: Said) -> dict | None', which reads nothing but what it is told.",
            )

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
        model = self._validated(arguments)
        return {field.alias or name: getattr(model, name) for name, field in type(model).model_fields.items()}

    def _validated(self, arguments: str) -> BaseModel:
        try:
            return self.arguments.model_validate_json(arguments or "{}")
        except ValidationError as error:
            raise InvalidInput(f"tool {self.name!r}", problem_of(error)) from error


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


def _with_lists(value: Any) -> Any:
    """Sets as lists, in an order that doesn't depend on the process."""
    match value:
        case dict():
            return {name: _with_lists(each) for name, each in cast("dict[Any, Any]", value).items()}
        case list() | tuple():
            return [_with_lists(each) for each in cast("Sequence[Any]", value)]
        case set() | frozenset():
            return sorted((_with_lists(each) for each in cast("Iterable[Any]", value)), key=to_json)
        case _:
            return value


def _sorted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


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
