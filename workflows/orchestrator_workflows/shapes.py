"""Types made of data: of a JSON Schema, or of names and kinds of fields.

Pure. A model's reply is validated by them, whatever the engine's decoder was held to.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal, Union

import typing_extensions
from pydantic import ConfigDict, Field, JsonValue, TypeAdapter

__all__ = ["Kind", "schema_of", "shape_of"]

Kind = Literal["string", "number", "integer", "boolean"]
Schema = dict[str, JsonValue]

_ANNOTATIONS = frozenset({"$comment", "$id", "$schema", "default", "description", "examples", "title", "type"})
_NUMERIC = {
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
}
_BOUNDS: Mapping[str, Mapping[str, str]] = {
    "string": {"minLength": "min_length", "maxLength": "max_length", "pattern": "pattern"},
    "number": _NUMERIC,
    "integer": _NUMERIC,
    "array": {"minItems": "min_length", "maxItems": "max_length"},
}
"""Keywords of each type, and what pydantic calls them."""
_PLAIN: Mapping[str, Any] = {
    "string": str,
    "number": int | Annotated[float, Field(allow_inf_nan=False)],
    "integer": int,
    "boolean": bool,
    "null": None,
}


def schema_of(fields: Mapping[str, Kind]) -> dict[str, JsonValue]:
    """JSON Schema of an object with these fields, each `null` where there is nothing to say."""
    properties: dict[str, JsonValue] = {name: {"type": [kind, "null"]} for name, kind in fields.items()}
    return {"type": "object", "properties": properties, "required": [*fields]}


def shape_of(schema: Schema) -> Any:
    """The type of the values that a schema describes.

    It knows `type`, `properties`, `required`, `items`, `enum`, `const`, `anyOf` and the bounds of texts, numbers and
    lists. An object has no properties but those that are named.

    Raises:
        ValueError: the schema uses anything else, and where; or it is none.
    """
    shape = _shape(schema, "schema")
    try:
        TypeAdapter(shape).json_schema()
    except Exception as error:  # pydantic has several ways to say so
        raise ValueError(f"it describes nothing that can be checked ({str(error).splitlines()[0]})") from error
    return shape


def _shape(schema: JsonValue, where: str) -> Any:
    match schema:
        case {"const": value}:
            made = _literal([value], where)
            _refuse_others(schema, {"const"}, where)
        case {"enum": [*values]} if values:
            made = _literal(values, where)
            _refuse_others(schema, {"enum"}, where)
        case {"anyOf": [*ways]} if ways:
            made = _either([_shape(way, f"{where}.anyOf.{number}") for number, way in enumerate(ways)])
            _refuse_others(schema, {"anyOf"}, where)
        case {"type": [*kinds]} if kinds:
            made = _either([_shape(_of_kind(schema, kind), where) for kind in kinds])
        case {"type": "object"}:
            made = _object(schema, where)
        case {"type": "array", "items": items}:
            made = list[_shape(items, f"{where}.items")]
            _refuse_others(schema, {"items", *_BOUNDS["array"]}, where)
        case {"type": str() as kind} if kind in _PLAIN:
            made = _PLAIN[kind]
            _refuse_others(schema, _BOUNDS.get(kind, ()), where)
        case {"type": "array"}:
            raise ValueError(f"{where} is a list of what? Give it 'items'")
        case _:
            raise ValueError(f"{where} says no type: give 'type', 'enum', 'const' or 'anyOf'")
    return _bounded(made, schema)


def _object(schema: Schema, where: str) -> Any:
    _refuse_others(schema, {"properties", "required", "additionalProperties"}, where)
    properties, required = schema.get("properties"), schema.get("required", [])
    if not isinstance(properties, dict) or not properties:
        raise ValueError(f"{where} is an object without 'properties'")
    if schema.get("additionalProperties", False) is not False:
        raise ValueError(f"{where}: 'additionalProperties' can only be false; name every property")
    if not isinstance(required, list) or any(name not in properties for name in required):
        raise ValueError(f"{where}: 'required' names no properties of it: {required}")
    shapes = {name: _shape(each, f"{where}.{name}") for name, each in properties.items()}
    fields = {
        name: shape if name in required else typing_extensions.NotRequired[shape] for name, shape in shapes.items()
    }
    named: Any = typing_extensions.TypedDict  # pyright knows no names that are data
    made = named("Object", fields)
    made.__pydantic_config__ = ConfigDict(extra="forbid")
    return made


def _bounded(shape: Any, schema: Schema) -> Any:
    kind = schema.get("type")
    bounds: Mapping[str, str] = _BOUNDS.get(kind, {}) if isinstance(kind, str) else {}
    wanted: dict[str, Any] = {ours: schema[theirs] for theirs, ours in bounds.items() if theirs in schema}
    if isinstance(text := schema.get("description"), str):
        wanted["description"] = text
    return Annotated[shape, Field(**wanted)] if wanted else shape


def _of_kind(schema: Schema, kind: JsonValue) -> dict[str, JsonValue]:
    """The schema for one of its types, without the bounds of the others and what is said of them all."""
    others = {name for other, bounds in _BOUNDS.items() if other != kind for name in bounds} - {
        *_BOUNDS.get(str(kind), ())
    }
    return {name: value for name, value in schema.items() if name not in {*others, "description"}} | {"type": kind}


def _literal(values: Sequence[JsonValue], where: str) -> Any:
    if any(not isinstance(value, str | int | None) for value in values):
        raise ValueError(f"{where}: only texts, whole numbers, true, false and null can be listed")
    return Literal[tuple(values)]  # pyright: ignore[reportInvalidTypeForm]


def _either(shapes: Sequence[Any]) -> Any:
    return Union[tuple(shapes)]  # noqa: UP007 - made of data


def _refuse_others(schema: Schema, known: Collection[str], where: str) -> None:
    if unknown := sorted(schema.keys() - _ANNOTATIONS - {*known}):
        listed = ", ".join(map(repr, unknown))
        raise ValueError(f"{where}: {listed} can't be checked here; describe it without")
