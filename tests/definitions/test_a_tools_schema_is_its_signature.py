"""What the model is told of a tool, and what it may send, is what stands in the function's signature and docstring."""

from enum import StrEnum
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from orchestrator import Orchestrator, Tool, ToolContext
from orchestrator.errors import InvalidInput

app = Orchestrator("schemas")


class Unit(StrEnum):
    METRE = "m"
    FOOT = "ft"


class Place(BaseModel):
    """Where something is."""

    city: str
    floor: int = 0


@app.tool(effect="read")
async def measure(
    ctx: ToolContext, place: Place, count: int, unit: Unit = Unit.METRE, *, tags: list[str] | None = None
) -> str:
    """Measures a place.

    It may take a while, and
    the door must be open.

    Args:
        place: where, as
            precisely: as you can
            say it
        count (int): how often
        tags:
            written on the result

    Returns:
        unit: not a parameter's description.
    """
    return f"{place.city} {count} {unit} {tags}"


@app.tool(effect="read")
async def bare(ctx: ToolContext) -> None:
    pass


@app.tool(effect="read")
async def annotated(
    ctx: ToolContext,
    size: Annotated[int, Field(ge=1, description="from the annotation")],
    depth: Annotated[int, Field(le=9, description="from the annotation")] = 2,
) -> int:
    """Takes a bounded size.

    Args:
        depth: from the docstring
    """
    return size * depth


@app.tool(effect="read")
async def takes_pydantics_names(ctx: ToolContext, json: str, _copy: bool = False, model_config: int = 0) -> str:
    """Such names are ordinary ones to a tool's author."""
    return json


def _properties(tool: Tool[..., Any]) -> Any:
    return tool.spec.parameters["properties"]


def test_descriptions_come_from_the_docstring() -> None:
    assert measure.spec.name == "measure"
    assert measure.spec.description == "Measures a place.\n\nIt may take a while, and\nthe door must be open."
    descriptions = {name: of.get("description") for name, of in _properties(measure).items()}
    assert descriptions == {
        "place": "where, as precisely: as you can say it",
        "count": "how often",
        "unit": None,
        "tags": "written on the result",
    }


def test_types_and_defaults_come_from_the_signature() -> None:
    parameters: Any = measure.spec.parameters
    assert parameters["required"] == ["place", "count"]
    assert parameters["additionalProperties"] is False
    properties = _properties(measure)
    assert properties["count"] == {"type": "integer", "description": "how often"}
    assert properties["unit"] == {"$ref": "#/$defs/Unit", "default": "m"}
    assert properties["tags"]["default"] is None
    assert parameters["$defs"]["Place"]["required"] == ["city"]
    assert parameters["$defs"]["Unit"]["enum"] == ["m", "ft"]


def test_a_tool_without_parameters_or_docstring() -> None:
    assert (bare.spec.description, bare.spec.parameters) == (
        "",
        {"type": "object", "properties": {}, "additionalProperties": False},
    )
    assert bare.parse("") == bare.parse("{}") == {}


def test_annotations_may_bound_and_describe() -> None:
    properties = _properties(annotated)
    assert properties["size"] == {"type": "integer", "minimum": 1, "description": "from the annotation"}
    assert properties["depth"] == {"type": "integer", "maximum": 9, "description": "from the docstring", "default": 2}
    with pytest.raises(InvalidInput, match="size: Input should be greater than or equal to 1"):
        annotated.parse('{"size": 0}')


def test_pydantic_parameters_arrive_as_models() -> None:
    arguments = measure.parse('{"place": {"city": "Oslo"}, "count": 2, "unit": "ft"}')
    assert arguments == {"place": Place(city="Oslo"), "count": 2, "unit": Unit.FOOT, "tags": None}


def test_what_is_bound_can_be_parsed() -> None:
    text = measure.bind(Place(city="Oslo", floor=3), 2, tags=["a"])
    assert measure.parse(text) == {
        "place": Place(city="Oslo", floor=3),
        "count": 2,
        "unit": Unit.METRE,
        "tags": ["a"],
    }


def test_parameters_may_have_names_that_pydantic_keeps_for_itself() -> None:
    text = takes_pydantics_names.bind("{}", True, model_config=1)
    assert takes_pydantics_names.parse(text) == {"json": "{}", "_copy": True, "model_config": 1}
    assert list(_properties(takes_pydantics_names)) == ["json", "_copy", "model_config"]
    assert takes_pydantics_names.spec.parameters["required"] == ["json"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ('{"count": 2}', "place: Field required"),
        ('{"place": {"city": "Oslo"}, "count": "two"}', "count: Input should be a valid integer"),
        ('{"place": {"floor": 1}, "count": 2}', "place.city: Field required"),
        ('{"place": {"city": "Oslo"}, "count": 2, "unit": "mile"}', "unit: Input should be 'm' or 'ft'"),
        ('{"place": {"city": "Oslo"}, "count": 2, "colour": 1}', "colour: Extra inputs are not permitted"),
        ("{not json", "value: Invalid JSON"),
        ("[1]", "value: "),
    ],
)
def test_arguments_that_break_the_schema_are_named(arguments: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match="the input of tool 'measure' is invalid") as caught:
        measure.parse(arguments)
    assert problem in caught.value.problem


def test_arguments_that_do_not_fit_the_signature_are_named() -> None:
    call: Any = measure.bind  # as a caller without a type checker
    with pytest.raises(InvalidInput, match="missing a required argument: 'count'"):
        call(Place(city="Oslo"))
    with pytest.raises(InvalidInput, match="too many positional arguments"):
        call(Place(city="Oslo"), 1, Unit.FOOT, ["a"])
    with pytest.raises(InvalidInput, match="unexpected keyword argument 'colour'"):
        call(Place(city="Oslo"), 1, colour="red")
    with pytest.raises(InvalidInput, match="count: Input should be a valid integer"):
        call(Place(city="Oslo"), "two")


def test_a_model_of_another_class_is_refused() -> None:
    class Other(BaseModel):
        city: int

    call: Any = measure.bind
    with pytest.raises(InvalidInput, match="place"):
        call(Other(city=1), 2)
