"""Whatever kinds of content an answer has, a model gets text and a workflow gets JSON."""

import base64
from typing import Any

import pytest
from mcp.types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

from orchestrator.mcp.contents import answer_of

TEN = base64.b64encode(b"0123456789").decode()
URI = "file:///a"


@pytest.mark.parametrize(
    ("block", "text"),
    [
        (TextContent(text="as it is"), "as it is"),
        (ImageContent(data=TEN, mime_type="image/png"), "[image: image/png, 10 bytes]"),
        (AudioContent(data=TEN, mime_type="audio/wav"), "[audio: audio/wav, 10 bytes]"),
        (ResourceLink(uri=URI, name="a", description="the first"), "[resource: file:///a, a, the first]"),
        (EmbeddedResource(resource=TextResourceContents(uri=URI, text="inside")), "inside"),
        (
            EmbeddedResource(resource=BlobResourceContents(uri=URI, blob=TEN, mime_type="x/y")),
            "[resource: file:///a, x/y, 10 bytes]",
        ),
    ],
    ids=["text", "image", "audio", "link", "text resource", "blob resource"],
)
def test_each_kind_of_content(block: ContentBlock, text: str) -> None:
    answer = answer_of(CallToolResult(content=[block]))
    assert (answer.text, answer.value, answer.failed) == (text, text, False)


@pytest.mark.parametrize("structured", [{"a": [1, None]}, {}])
def test_structured_content_is_the_value_and_the_text_where_there_is_none(structured: dict[str, Any]) -> None:
    answer = answer_of(CallToolResult(content=[], structured_content=structured))
    assert answer.value == structured
    assert answer.text == ('{"a":[1,null]}' if structured else "{}")
    told = answer_of(CallToolResult(content=[TextContent(text="a is 1")], structured_content=structured))
    assert (told.text, told.value) == ("a is 1", structured)


def test_nothing_is_empty_text() -> None:
    answer = answer_of(CallToolResult(content=[], is_error=True))
    assert (answer.text, answer.value, answer.failed) == ("", "", True)
