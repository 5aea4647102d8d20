"""The schemas of a server's tools: made to stand alone, and held against arguments.

An engine's decoder gets a tool's schema as a part of a larger one, where a reference such as `#/properties/x`, which
some generators write, points to nothing. So every reference is turned into one to `$defs`, under a name that no other
tool uses.
"""

import re
from collections.abc import Mapping
from typing import Any, cast

from jsonschema import Draft202012Validator, SchemaError
from jsonschema import exceptions as jsonschema_exceptions
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from pydantic import JsonValue
from referencing import Registry
from referencing.exceptions import Unresolvable

__all__ = ["SchemaUnusable", "problem_with", "standalone"]

LITERAL = frozenset({"const", "default", "enum", "example", "examples"})
"""Keywords whose values are data, not schemas."""
NAMED = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})
"""Keywords whose values map names to schemas."""
DROPPED = frozenset({"$defs", "$id", "$schema", "definitions"})
"""Keywords of the whole schema that a part of another one doesn't need."""


class SchemaUnusable(Exception):
    """No arguments can be described by this schema."""


def standalone(schema: Mapping[str, Any], name: str) -> dict[str, JsonValue]:
    """The schema of a tool's arguments, so that it means the same as a part of another schema.

    Args:
        schema: as the server gave it.
        name: of the tool; no other one may have it.

    Raises:
        SchemaUnusable: it is no JSON Schema of an object, or refers to something outside itself.
    """
    kind = schema.get("type", "object")
    if kind != "object":
        raise SchemaUnusable(f"its arguments are no object but {kind!r}")
    try:
        _validator(schema).check_schema(dict(schema))
    except SchemaError as error:
        raise SchemaUnusable(f"its schema is no JSON Schema ({error.message[:200]})") from error
    return _Rewriting(schema, name).whole()


def problem_with(arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> str | None:
    """What is wrong with a call's arguments; `None` where they fit."""
    # An empty registry: nothing is fetched for a reference that points elsewhere.
    checking: Validator = _validator(schema)(schema, registry=Registry())
    try:
        error = cast(
            "jsonschema_exceptions.ValidationError | None",
            jsonschema_exceptions.best_match(checking.iter_errors(arguments)),  # pyright: ignore[reportUnknownMemberType]
        )
    except (Unresolvable, re.error) as unusable:
        return f"its schema can't be used ({unusable})"
    if error is None:
        return None
    where = ".".join(map(str, error.absolute_path))
    return f"{where}: {error.message}" if where else error.message


def _validator(schema: Mapping[str, Any]) -> type[Validator]:
    return validator_for(schema, default=Draft202012Validator)


class _Rewriting:
    """One schema on its way to standing alone."""

    def __init__(self, schema: Mapping[str, Any], name: str) -> None:
        self._schema = schema
        self._name = name
        self._defined: dict[str, str] = {}
        """The new name of what a pointer points to."""
        self._definitions: dict[str, Any] = {}

    def whole(self) -> dict[str, JsonValue]:
        root = self._root()
        root["type"] = "object"
        if self._definitions:
            root["$defs"] = self._definitions
        return root

    def _root(self) -> dict[str, Any]:
        return self._rewritten({key: value for key, value in self._schema.items() if key not in DROPPED})

    def _rewritten(self, node: Any, *, names: bool = False) -> Any:
        if isinstance(node, list):
            return [self._rewritten(each) for each in cast("list[Any]", node)]
        if not isinstance(node, dict):
            return node
        made: dict[str, Any] = {}
        for key, value in cast("dict[str, Any]", node).items():
            if names:
                made[key] = self._rewritten(value)
            elif key == "title":
                continue  # what generators make of a name; a model has no use for it
            elif key in ("$ref", "$dynamicRef", "$recursiveRef"):
                made["$ref"] = self._reference(value)
            elif key in LITERAL:
                made[key] = value
            else:
                made[key] = self._rewritten(value, names=key in NAMED)
        return made

    def _reference(self, pointer: object) -> str:
        if not isinstance(pointer, str) or not re.fullmatch(r"#(/.*)?", pointer):
            raise SchemaUnusable(f"its schema refers to {pointer!r}, outside itself")
        if pointer not in self._defined:
            name = self._defined[pointer] = f"{self._name}.{len(self._defined) + 1}"
            # Named before it is rewritten: it may refer to itself.
            self._definitions[name] = self._root() if pointer == "#" else self._rewritten(self._found(pointer))
        return f"#/$defs/{self._defined[pointer]}"

    def _found(self, pointer: str) -> Any:
        node: Any = self._schema
        for part in pointer.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            try:
                node = node[int(key) if isinstance(node, list) else key]
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise SchemaUnusable(f"its schema refers to {pointer!r}, where there is nothing") from error
        return node
