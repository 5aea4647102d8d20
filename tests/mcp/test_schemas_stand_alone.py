"""A tool's schema means the same inside another one, and bad ones are told apart from good ones."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from mcp.types import Tool, ToolAnnotations

from orchestrator import MCPServer
from orchestrator.activities.generate import tool_call_schema
from orchestrator.errors import ToolServerUnusable
from orchestrator.mcp.listing import listing_of
from orchestrator.mcp.schemas import SchemaUnusable, problem_with, standalone
from orchestrator.messages import ToolSpec

SIZE = {"type": "object", "properties": {"wide": {"type": "integer"}}, "required": ["wide"]}
TREE = {
    "type": "object",
    "properties": {
        "a": {"$ref": "#/$defs/Size"},
        "b": {"$ref": "#/properties/a"},
        "c": {"$ref": "#/definitions/with~1slash"},
        "more": {"type": "array", "items": {"$ref": "#"}},
        "$ref": {"type": "string", "default": {"$ref": "not a reference"}},
    },
    "required": ["a"],
    "additionalProperties": False,
    "$defs": {"Size": SIZE, "Unused": {"type": "null"}},
    "definitions": {"with/slash": {"enum": ["x", {"$ref": "data"}]}},
}
GOOD: list[dict[str, Any]] = [
    {"a": {"wide": 1}},
    {"a": {"wide": 1}, "b": {"wide": 2}, "c": "x", "more": [{"a": {"wide": 3}}], "$ref": "any"},
    {"a": {"wide": 1}, "c": {"$ref": "data"}},
]
BAD: list[dict[str, Any]] = [
    {},
    {"a": {"wide": "1"}},
    {"a": {"wide": 1}, "b": {}},
    {"a": {"wide": 1}, "c": "y"},
    {"a": {"wide": 1}, "more": [{}]},
    {"a": {"wide": 1}, "$ref": 1},
    {"a": {"wide": 1}, "d": 1},
]


@pytest.mark.parametrize("name", ["one", "other"])
def test_references_keep_their_meaning_in_a_call_of_one_of_several_tools(name: str) -> None:
    other = {"type": "object", "properties": {"a": {"$ref": "#/$defs/Size"}}, "$defs": {"Size": {"type": "string"}}}
    specs = [
        ToolSpec(name=n, description="", parameters=standalone(s, n)) for n, s in (("one", TREE), ("other", other))
    ]
    whole = tool_call_schema(specs)
    Draft202012Validator.check_schema(whole)
    good, bad = (GOOD, BAD) if name == "one" else ([{"a": "text"}], [{"a": {"wide": 1}}])
    for arguments in good:
        assert problem_with({"name": name, "arguments": arguments}, whole) is None
    for arguments in bad:
        assert problem_with({"name": name, "arguments": arguments}, whole)


@pytest.mark.parametrize("arguments", GOOD)
def test_good_arguments_pass(arguments: dict[str, Any]) -> None:
    assert problem_with(arguments, TREE) is None
    assert problem_with(arguments, standalone(TREE, "x")) is None


@pytest.mark.parametrize("arguments", BAD)
def test_bad_arguments_are_named(arguments: dict[str, Any]) -> None:
    assert problem_with(arguments, TREE)
    assert problem_with(arguments, standalone(TREE, "x"))


UNUSABLE: list[tuple[dict[str, Any], str]] = [
    ({"type": "array"}, "its arguments are no object but 'array'"),
    ({"type": "object", "properties": {"a": {"type": "strin"}}}, "its schema is no JSON Schema"),
    ({"type": "object", "properties": {"a": {"$ref": "https://x.example/a.json"}}}, "outside itself"),
    ({"type": "object", "properties": {"a": {"$ref": "#anchor"}}}, "outside itself"),
    ({"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}}, "refers to '#/$defs/A', where there is nothing"),
]


@pytest.mark.parametrize(("schema", "words"), UNUSABLE)
def test_a_schema_that_cannot_be_used(schema: dict[str, Any], words: str) -> None:
    with pytest.raises(SchemaUnusable) as caught:
        standalone(schema, "x")
    assert words in str(caught.value)


def _tool(name: str, schema: dict[str, Any] | None = None, **more: Any) -> Tool:
    return Tool(name=name, input_schema=schema or {"type": "object"}, **more)


def _server(**more: Any) -> MCPServer:
    return MCPServer("t", command=("x",), **more)


def test_a_tool_that_cannot_be_used_is_left_out_with_the_reason_unless_the_app_names_it() -> None:
    tools = [
        _tool("good"),
        _tool("odd", UNUSABLE[0][0]),
        _tool("vast", {"type": "object", "description": "x" * 20_000}),
    ]
    listing = listing_of(_server(), tools, taken=())
    assert [tool.name for tool in listing.tools] == ["good"]
    assert listing.left_out["odd"] == "its arguments are no object but 'array'"
    assert "more than the 16,384 allowed" in listing.left_out["vast"]
    for named in (_server(include=["odd", "good"]), _server(effects={"odd": "read"})):
        with pytest.raises(ToolServerUnusable, match="tool 'odd': its arguments are no object"):
            listing_of(named, tools, taken=())
    assert not listing_of(_server(exclude=["odd", "vast"]), tools, taken=()).left_out


def test_names_are_unique_and_fit_every_engine() -> None:
    names = ["files/read", "files.read", "files_read", "n" * 100, "n" * 101, "own", "own"]
    offered = [tool.offered for tool in listing_of(_server(), [_tool(name) for name in names], taken=["t_own"]).tools]
    assert offered[0] == "t_files_read"
    assert len(set(offered)) == len(offered) == 6
    assert "t_own" not in offered
    assert all(len(name) <= 64 and set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_") for name in offered)


def test_long_descriptions_are_cut_and_too_many_tools_are_refused() -> None:
    (tool,) = listing_of(_server(), [_tool("a", description="x" * 5_000)], taken=()).tools
    assert len(tool.description) == 2_000
    assert tool.description.endswith("…")
    with pytest.raises(ToolServerUnusable, match=r"its 200 tools take .* bytes, more than the 262,144 allowed"):
        listing_of(_server(), [_tool(f"a{n}", description="x" * 2_000) for n in range(200)], taken=())


READS = ToolAnnotations(read_only_hint=True)
REPEATS = ToolAnnotations(idempotent_hint=True)
WRITES = ToolAnnotations(read_only_hint=False)


@pytest.mark.parametrize(
    ("server", "hints", "effect"),
    [
        (_server(), READS, "write"),
        (_server(trust_annotations=True), READS, "read"),
        (_server(trust_annotations=True), REPEATS, "idempotent"),
        (_server(trust_annotations=True), None, "write"),
        (_server(trust_annotations=True, effect="read"), None, "read"),
        (_server(trust_annotations=True, effect="read"), WRITES, "write"),
        (_server(trust_annotations=True, effects={"a": "write"}), READS, "write"),
        (_server(effect="read"), WRITES, "read"),
        (_server(effects={"a": "idempotent"}), None, "idempotent"),
    ],
)
def test_what_a_tool_does_is_what_the_app_says_else_what_it_trusts(
    server: MCPServer, hints: ToolAnnotations | None, effect: str
) -> None:
    (tool,) = listing_of(server, [_tool("a", annotations=hints)], taken=()).tools
    assert tool.effect == effect
