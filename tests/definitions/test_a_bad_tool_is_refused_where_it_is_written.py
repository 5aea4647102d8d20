"""Every tool that couldn't be called is refused by its decorator, with what is wrong and what to do."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from orchestrator import Orchestrator, ToolContext
from orchestrator.errors import DefinitionError

ANNOTATE = "Annotate every parameter with JSON types or pydantic models."


class Opaque:
    """No JSON."""


def not_async(ctx: ToolContext) -> str:
    return ""


async def no_context() -> str:
    return ""


async def star_context(*args: ToolContext) -> str:
    return ""


async def keyword_context(*, ctx: ToolContext) -> str:
    return ""


async def unannotated(ctx: ToolContext, size) -> str:  # type: ignore[no-untyped-def]
    return str(size)  # pyright: ignore[reportUnknownArgumentType]


async def star_arguments(ctx: ToolContext, *sizes: int) -> int:
    return sum(sizes)


async def star_keywords(ctx: ToolContext, **sizes: int) -> int:
    return sum(sizes.values())


async def positional_only(ctx: ToolContext, size: int, /) -> int:
    return size


async def opaque_parameter(ctx: ToolContext, size: Opaque) -> str:
    return str(size)


async def function_parameter(ctx: ToolContext, size: Callable[[int], int]) -> str:
    return str(size)


async def opaque_result(ctx: ToolContext) -> Opaque:
    return Opaque()


async def unknown_annotation(ctx: ToolContext, size: "Nowhere") -> str:  # type: ignore[name-defined] # noqa: F821
    return str(size)  # pyright: ignore[reportUnknownArgumentType]


async def fine(ctx: ToolContext, size: int = 3) -> int:
    """A good one."""
    return size


async def generate(ctx: ToolContext) -> str:
    return ""


async def retrieve(ctx: ToolContext) -> str:
    return ""


async def close_run(ctx: ToolContext) -> str:
    return ""


BAD: list[tuple[Any, str, str]] = [
    (not_async, "it isn't an async function", "Write 'async def'."),
    (no_context, "it takes no context", "Make its first parameter 'ctx: ToolContext'."),
    (star_context, "it takes no context", "Make its first parameter 'ctx: ToolContext'."),
    (keyword_context, "it takes no context", "Make its first parameter 'ctx: ToolContext'."),
    (unannotated, "parameter 'size' has no annotation", ANNOTATE),
    (star_arguments, "'*sizes: int' can't be described; name every parameter", ANNOTATE),
    (star_keywords, "'**sizes: int' can't be described; name every parameter", ANNOTATE),
    (positional_only, "parameter 'size' can't be given by name", ANNOTATE),
    (opaque_parameter, "Unable to generate pydantic-core schema", ANNOTATE),
    (function_parameter, "Cannot generate a JsonSchema", ANNOTATE),
    (opaque_result, "Unable to generate pydantic-core schema", ANNOTATE),
    (unknown_annotation, "name 'Nowhere' is not defined", ANNOTATE),
    (generate, "an activity of the orchestrator has this name", "Rename it."),
    (retrieve, "an activity of the orchestrator has this name", "Rename it."),
    (close_run, "an activity of the orchestrator has this name", "Rename it."),
]


@pytest.mark.parametrize(("function", "problem", "remedy"), BAD)
def test_a_tool(function: Any, problem: str, remedy: str) -> None:
    app = Orchestrator("bad")
    with pytest.raises(DefinitionError) as caught:
        app.tool(effect="read")(function)
    assert caught.value.what == f"tool {function.__name__!r}"
    assert problem in caught.value.problem
    assert caught.value.remedy == remedy
    assert all(part in str(caught.value) for part in (repr(function.__name__), problem, remedy))
    assert "\n" not in str(caught.value)
    assert not app.tools


@pytest.mark.parametrize("timeout", [timedelta(0), timedelta(seconds=-1)])
def test_a_timeout_that_has_passed_already(timeout: timedelta) -> None:
    with pytest.raises(DefinitionError, match=r"its timeout isn't positive. Give timeout=timedelta\(...\)"):
        Orchestrator("bad").tool(effect="read", timeout=timeout)(fine)


def test_a_second_tool_of_the_same_name() -> None:
    app = Orchestrator("bad")
    tool = app.tool(effect="read")(fine)
    with pytest.raises(DefinitionError, match=r"tool 'fine': Orchestrator\('bad'\) has one already. Rename one"):
        app.tool(effect="read")(fine)
    with pytest.raises(DefinitionError, match="has one already"):
        Orchestrator("bad", tools=[tool, tool])
    assert app.tools == (tool,)
