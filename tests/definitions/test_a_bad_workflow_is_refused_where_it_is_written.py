"""Every workflow or app that couldn't run is refused by its decorator, with what is wrong and what to do."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from orchestrator import Orchestrator, RunContext
from orchestrator.errors import DefinitionError


class Opaque:
    """No JSON."""


class Question(BaseModel):
    text: str


def not_async(ctx: RunContext, value: str) -> str:
    return value


async def no_input(ctx: RunContext) -> str:
    return ""


async def two_inputs(ctx: RunContext, value: str, other: str) -> str:
    return value + other


async def unannotated_input(ctx: RunContext, value) -> str:  # type: ignore[no-untyped-def]
    return str(value)  # pyright: ignore[reportUnknownArgumentType]


async def unannotated_result(ctx: RunContext, value: str):  # type: ignore[no-untyped-def]
    return value


async def opaque_input(ctx: RunContext, value: Opaque) -> str:
    return str(value)


async def opaque_result(ctx: RunContext, value: str) -> Opaque:
    return Opaque()


async def function_input(ctx: RunContext, value: Callable[[int], int]) -> str:
    return str(value)


async def unknown_annotation(ctx: RunContext, value: "Nowhere") -> str:  # type: ignore[name-defined] # noqa: F821
    return str(value)  # pyright: ignore[reportUnknownArgumentType]


async def good(ctx: RunContext, value: Question) -> list[Question]:
    """A good one."""
    return [value]


def good_again() -> Any:
    """A function of the same name."""

    async def other(ctx: RunContext, value: str) -> str:
        return value

    other.__name__, other.__qualname__ = "good", "good"
    return other


def inside_a_function() -> Any:
    async def inner(ctx: RunContext, value: str) -> str:
        return value

    return inner


BAD: list[tuple[Any, str, str]] = [
    (not_async, "it isn't an async function", "Write 'async def'."),
    (inside_a_function(), "it is defined inside a function", "Move it to the top level of its module."),
    (no_input, "it takes 1 parameters, not two", "Take 'ctx: RunContext' and one input"),
    (two_inputs, "it takes 3 parameters, not two", "put several values into a pydantic model."),
    (unannotated_input, "'value' has no annotation", "Annotate the input and the result."),
    (unannotated_result, "'return' has no annotation", "Annotate the input and the result."),
    (opaque_input, "no JSON schema can be made of 'value'", "Use JSON types or pydantic models."),
    (function_input, "no JSON schema can be made of 'value'", "Use JSON types or pydantic models."),
    (opaque_result, "no JSON schema can be made of 'return'", "Use JSON types or pydantic models."),
    (unknown_annotation, "name 'Nowhere' is not defined", "Annotate with names of this module."),
]


@pytest.mark.parametrize(("function", "problem", "remedy"), BAD)
def test_a_workflow(function: Any, problem: str, remedy: str) -> None:
    app = Orchestrator("bad")
    with pytest.raises(DefinitionError) as caught:
        app.workflow()(function)
    assert caught.value.what == f"workflow {function.__name__!r}"
    assert problem in caught.value.problem
    assert remedy in caught.value.remedy
    assert all(part in str(caught.value) for part in (repr(function.__name__), problem, remedy))
    assert "\n" not in str(caught.value)
    assert not app.workflows


def test_a_second_workflow_of_the_same_name() -> None:
    app = Orchestrator("bad")
    defined = app.workflow()(good)
    with pytest.raises(DefinitionError, match=r"workflow 'good': Orchestrator\('bad'\) has one already. Rename one"):
        app.workflow()(good_again())
    assert app.workflows == (defined,)


@pytest.mark.parametrize("name", ["", "Upper", "1st", "-dash", "with space", "under_score", "dot.ted", "a" * 64, "a\n"])
def test_an_app_by_its_name(name: str) -> None:
    with pytest.raises(DefinitionError, match="Use lower-case letters, digits and dashes") as caught:
        Orchestrator(name)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("name", ["a", "support-2", "a" * 63])
def test_other_names_are_good(name: str) -> None:
    assert Orchestrator(name).task_queue == f"workflows.{name}"


def test_a_good_workflow_takes_the_functions_place() -> None:
    defined = Orchestrator("good").workflow()(good)
    assert (defined.__name__, defined.__module__, defined.__doc__) == ("good", good.__module__, "A good one.")
    assert defined.signature.input_schema["required"] == ["text"]
    assert defined.signature.output_schema["type"] == "array"
    assert defined.signature.parse({"text": "why?"}) == Question(text="why?")
