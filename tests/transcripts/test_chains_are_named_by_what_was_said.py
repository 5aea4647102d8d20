"""The hash of a chain is its name: the same for equal conversations of one tenant, and for no others."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.messages import (
    AssistantMessage,
    BlobRef,
    Message,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
    chain_hash,
)
from orchestrator.transcripts import Node, TranscriptStore

HELLO = UserMessage(content="hello")
CALL = ToolCall(id="1.0", name="search", arguments="{}")
SPEC = ToolSpec(name="search", description="Searches.", parameters={"type": "object"})

EACH: list[Message] = [
    HELLO,
    UserMessage(content="hello "),
    UserMessage(content=""),
    SystemMessage(content="hello"),
    SystemMessage(content="hello", tools=(SPEC,)),
    SystemMessage(content="hello", tools=(SPEC, SPEC)),
    AssistantMessage(content="hello"),
    AssistantMessage(content="hello", reasoning="hm"),
    AssistantMessage(content="hello", tool_calls=(CALL,)),
    AssistantMessage(content="hello", tool_calls=(CALL.model_copy(update={"arguments": "{ }"}),)),
    ToolMessage(call_id="1.0", name="search", content="hello"),
    ToolMessage(call_id="1.1", name="search", content="hello"),
    ToolMessage(call_id="1.0", name="search", content=BlobRef(blob="ab", size=5)),
    ToolMessage(call_id="1.0", name="search", content=BlobRef(blob="ab", size=6)),
]


def test_by_content() -> None:
    names = [chain_hash(None, message, "t") for message in EACH]
    assert len(set(names)) == len(EACH)
    assert all(len(name) == 64 and int(name, 16) for name in names)


def test_by_parent_and_tenant() -> None:
    parent = chain_hash(None, HELLO, "t")
    names = {chain_hash(parent, HELLO, "t"), chain_hash(None, HELLO, "t"), chain_hash(parent, HELLO, "u")}
    assert len(names) == 3


def test_the_name_is_the_same_in_every_version() -> None:
    """Stored chains are found by it, so that a change would cut off every conversation that is kept."""
    assert chain_hash(None, HELLO, "t") == "00368c9042800700a85ac9fd5d161d945261227e9530476ecbdeaa86ba12ef2e"


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(a=st.tuples(texts, texts), b=st.tuples(texts, texts))
def test_nothing_runs_together(a: tuple[str, str], b: tuple[str, str]) -> None:
    """No parent, text or tenant can be shifted into its neighbour."""
    name = chain_hash(None, UserMessage(content=a[0]), a[1])
    other = chain_hash(None, UserMessage(content=b[0]), b[1])
    assert (name == other) == (a == b)


def test_extending_step_by_step_or_at_once_is_the_same() -> None:
    said: list[Message] = [SystemMessage(content="Be brief."), HELLO, AssistantMessage(content="hi")]
    at_once = TranscriptStore.extend(None, said, "t")
    one: Node | None = None
    steps: list[Node] = []
    for message in said:
        (one,) = TranscriptStore.extend(one, [message], "t")
        steps.append(one)
    assert steps == at_once
    assert [node.depth for node in at_once] == [0, 1, 2]
    assert [node.parent for node in at_once] == [None, at_once[0].hash, at_once[1].hash]
    assert TranscriptStore.extend(one, [], "t") == []


def test_messages_do_not_change() -> None:
    changed: Any = HELLO
    with pytest.raises(ValueError, match="frozen"):
        changed.content = "bye"
