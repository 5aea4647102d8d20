"""A cache that can't be right is refused where it is written."""

from datetime import timedelta
from typing import Any

import pytest

from orchestrator import Orchestrator, RunContext, ToolContext
from orchestrator.errors import DefinitionError

HOUR = timedelta(hours=1)


async def look(ctx: ToolContext) -> str:
    """Look."""
    return ""


async def think(ctx: RunContext, question: str) -> str:
    """Think."""
    return ""


@pytest.mark.parametrize(
    ("given", "problem", "remedy"),
    [
        (
            {"effect": "write", "cache": HOUR},
            "its effect is 'write', so that a call can't be left out",
            'Leave cache= out, or say effect="read".',
        ),
        ({"effect": "idempotent", "cache": HOUR}, "its effect is 'idempotent'", "Leave cache= out"),
        ({"effect": "read", "cache": timedelta(0)}, "its cache lasts no time", "Give cache=timedelta(...)"),
        ({"effect": "read", "cache": -HOUR}, "its cache lasts no time", "Give cache=timedelta(...)"),
        ({"effect": "read", "cache_version": "2"}, "it has a cache_version and keeps nothing", "Give cache="),
    ],
)
def test_of_a_tool(given: dict[str, Any], problem: str, remedy: str) -> None:
    app = Orchestrator("bad")
    with pytest.raises(DefinitionError) as caught:
        app.tool(**given)(look)
    assert caught.value.what == "tool 'look'"
    assert problem in caught.value.problem
    assert remedy in caught.value.remedy
    assert not app.tools


def test_of_a_workflow() -> None:
    with pytest.raises(DefinitionError, match=r"workflow 'think': its cache lasts no time. Give cache=timedelta"):
        Orchestrator("bad").workflow(cache=timedelta(0))(think)


def test_another_version_or_signature_is_another_tool() -> None:
    async def other(ctx: ToolContext) -> int:
        """Look."""
        return 0

    other.__name__ = "look"
    made = [
        Orchestrator("a").tool(effect="read", cache=HOUR)(look),
        Orchestrator("a").tool(effect="read", cache=2 * HOUR, timeout=HOUR)(look),
        Orchestrator("a").tool(effect="read", cache=HOUR, cache_version="2")(look),
        Orchestrator("a").tool(effect="read", cache=HOUR)(other),
    ]
    fingerprints = [tool.fingerprint for tool in made]
    assert fingerprints[0] == fingerprints[1]
    assert len(set(fingerprints)) == 3
