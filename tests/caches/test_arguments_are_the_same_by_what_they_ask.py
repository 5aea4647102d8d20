"""Whether two calls ask the same: spelling, order and defaults don't matter, and nothing else is overlooked."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from orchestrator import Orchestrator, ToolContext
from orchestrator.errors import InvalidInput

app = Orchestrator("arguments")


class Place(BaseModel):
    name: str
    tags: set[str] = set()


@app.tool(effect="read")
async def find(
    ctx: ToolContext,
    what: str,
    limit: int = 5,
    near: Place | None = None,
    extra: dict[str, Any] | None = None,
    exact: bool = False,
) -> str:
    """Find something."""
    return what


@app.tool(effect="read")
async def log_in(ctx: ToolContext, password: SecretStr) -> str:
    """Has an argument that JSON doesn't show."""
    return ""


def same(one: str, other: str) -> bool:
    return find.canonical(one) == find.canonical(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"what": "a"}', '{ "what" : "\\u0061" }'),
        ('{"what": "a"}', '{"limit": 5, "what": "a", "exact": false}'),
        ('{"what": "a", "extra": {"x": 1, "y": 2}}', '{"what": "a", "extra": {"y": 2, "x": 1}}'),
        ('{"what": "a", "near": {"name": "b"}}', '{"what": "a", "near": {"tags": [], "name": "b"}}'),
        (
            '{"what": "a", "near": {"name": "b", "tags": ["x", "y"]}}',
            '{"what": "a", "near": {"name": "b", "tags": ["y", "x"]}}',
        ),
    ],
)  # fmt: skip
def test_the_same(one: str, other: str) -> None:
    assert same(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"what": "a"}', '{"what": "b"}'),
        ('{"what": "a"}', '{"what": "a "}'),
        ('{"what": "a"}', '{"what": "a", "limit": 6}'),
        ('{"what": "a", "extra": {"x": 1}}', '{"what": "a", "extra": {"x": true}}'),
        ('{"what": "a", "extra": {"x": 1}}', '{"what": "a", "extra": {"x": 1.0}}'),
        ('{"what": "a", "extra": {"x": [1, 2]}}', '{"what": "a", "extra": {"x": [2, 1]}}'),
        ('{"what": "a", "extra": {}}', '{"what": "a"}'),
    ],
)
def test_not_the_same(one: str, other: str) -> None:
    assert not same(one, other)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | st.text("ab"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=6,
)
_EXTRA = st.dictionaries(st.text("ab"), _JSON, max_size=3)


@given(_EXTRA, _EXTRA)
def test_they_are_the_same_exactly_where_the_json_is(one: dict[str, Any], other: dict[str, Any]) -> None:
    texts = [json.dumps({"what": "a", "extra": each}) for each in (one, other)]
    plain = [json.dumps(each, sort_keys=True) for each in (one, other)]
    assert same(*texts) is (plain[0] == plain[1])


@given(st.sets(st.text("abc", max_size=3), max_size=6), st.randoms())
def test_the_order_of_a_set_says_nothing(tags: set[str], dice: Any) -> None:
    shuffled = sorted(tags)
    dice.shuffle(shuffled)
    places = [json.dumps({"what": "a", "near": {"name": "b", "tags": each}}) for each in (sorted(tags), shuffled)]
    assert same(*places)


def test_secrets_are_told_apart() -> None:
    texts = [log_in.canonical(json.dumps({"password": password})) for password in ("one", "two", "one")]
    assert texts[0] == texts[2] != texts[1]


@pytest.mark.parametrize("arguments", ["{", "[]", "{}", '{"what": 1}', '{"what": "a", "unknown": 1}'])
def test_what_does_not_fit_is_nothing_to_compare(arguments: str) -> None:
    with pytest.raises(InvalidInput, match="tool 'find'"):
        find.canonical(arguments)
