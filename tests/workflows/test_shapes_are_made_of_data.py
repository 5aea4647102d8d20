"""JSON Schemas given as data become types that values are held against."""

from typing import Any

import pytest
from pydantic import JsonValue, TypeAdapter, ValidationError

from orchestrator_workflows.shapes import schema_of, shape_of

INVOICE: dict[str, JsonValue] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Invoice",
    "type": "object",
    "properties": {
        "vendor": {"type": "string", "minLength": 2, "description": "who sent it"},
        "total": {"type": "number", "minimum": 0},
        "currency": {"enum": ["EUR", "USD"]},
        "paid": {"type": ["boolean", "null"]},
        "due-date": {"type": ["string", "null"], "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
        "lines": {
            "type": "array",
            "maxItems": 2,
            "items": {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]},
        },
    },
    "required": ["vendor", "total"],
    "additionalProperties": False,
}
FULL: dict[str, JsonValue] = {
    "vendor": "Acme",
    "total": 3,
    "currency": "EUR",
    "paid": None,
    "due-date": "2026-11-25",
    "lines": [{"count": 2}],
}


def _made(value: JsonValue) -> Any:
    return TypeAdapter[Any](shape_of(INVOICE)).validate_python(value)


@pytest.mark.parametrize("value", [FULL, {"vendor": "Acme", "total": 3.5}])
def test_a_value_that_fits_is_left_as_it_is(value: JsonValue) -> None:
    assert _made(value) == value


CHANGES: list[dict[str, JsonValue]] = [
    {"vendor": "A"},
    {"vendor": None},
    {"total": -1},
    {"total": "a lot"},
    {"currency": "GBP"},
    {"due-date": "soon"},
    {"lines": [{}]},
    {"lines": [{"count": 1.5}]},
    {"lines": [{"count": 1}, {"count": 1}, {"count": 1}]},
    {"colour": "red"},
]


@pytest.mark.parametrize("change", CHANGES)
def test_one_that_doesnt_is_refused(change: dict[str, JsonValue]) -> None:
    with pytest.raises(ValidationError):
        _made({**FULL, **change})


def test_what_the_decoder_is_held_to_says_the_same() -> None:
    schema: Any = TypeAdapter[Any](shape_of(INVOICE)).json_schema()
    assert schema["additionalProperties"] is False
    assert sorted(schema["required"]) == ["total", "vendor"]
    assert schema["properties"]["vendor"] == {"description": "who sent it", "minLength": 2, "type": "string"} | (
        {"title": "Vendor"} if "title" in schema["properties"]["vendor"] else {}
    )
    assert "due-date" in schema["properties"]


def test_fields_may_come_to_nothing() -> None:
    shape: TypeAdapter[Any] = TypeAdapter(shape_of(schema_of({"vendor": "string", "total": "number"})))
    assert shape.validate_python({"vendor": None, "total": 7}) == {"vendor": None, "total": 7}
    with pytest.raises(ValidationError):
        shape.validate_python({"vendor": "Acme"})


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "object"}, "schema is an object without 'properties'"),
        ({"type": "object", "properties": {"a": {}}}, "schema.a says no type"),
        ({"type": "object", "properties": {"a": {"type": "text"}}}, "schema.a says no type"),
        ({"type": "object", "properties": {"a": {"type": "array"}}}, "schema.a is a list of what"),
        ({"type": "object", "properties": {"a": {"$ref": "#/x"}}}, "schema.a says no type"),
        ({"type": "object", "properties": {"a": {"type": "string", "format": "date"}}}, "schema.a: 'format' can't be"),
        ({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["b"]}, "names no properties of it"),
        ({"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": True}, "only be false"),
        ({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}, "nothing that can be checked"),
        ({"type": "object", "properties": {"a": {"enum": [1.5]}}}, "schema.a: only texts"),
    ],
)
def test_a_schema_that_cant_be_checked_is_refused_where_it_cant(schema: dict[str, JsonValue], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        shape_of(schema)
