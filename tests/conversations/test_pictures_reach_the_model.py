"""A picture travels by its name, and reaches the engine as it is, whenever the conversation does."""

import base64
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pydantic import ValidationError

from orchestrator import Image
from orchestrator.api import create_api, serving
from orchestrator.database import Database
from orchestrator.engine import Prompts, SGLang
from orchestrator.errors import ConfigurationError, DefinitionError, EngineRejected, InvalidInput, UnknownName
from orchestrator.images import MAX_IMAGE
from orchestrator.messages import Message, SystemMessage, TextPart, UserMessage, chain_hash
from orchestrator.steps import RunStatus
from orchestrator.testing import CallTool, Reply, Say, ScriptedRequest, scripted_engine
from orchestrator.transcripts import TranscriptStore
from tests.bench import Bench, result_of
from tests.conversations.program import picture

if TYPE_CHECKING:
    from tests.conversations.conftest import Stage
else:
    Stage = Any

PNG = picture(64)
JPEG, GIF, WEBP = b"\xff\xd8\xff\xe0 and so on", b"GIF89a and so on", b"RIFF\x00\x00\x00\x00WEBP and so on"


def sent(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


async def test_from_a_tool(here: Bench, stage: Stage) -> None:
    stage.plays([Say("A tower."), Say("Grey.")])
    run_id = await here.start("describe", {"questions": ["What is this?", "Which colour?"]})
    run = await here.runs.wait(run_id)
    assert result_of(run)["replies"] == ["A tower.", "Grey."]
    assert result_of(run)["exact"] == [False, False]
    first, second = stage.requests
    assert first.request.images == second.request.images == (sent(picture()),)
    assert [(message.role, message.text) for message in second.request.messages] == [
        ("system", "You see."),
        ("user", "[image]What is this?"),
        ("assistant", "A tower."),
        ("user", "Which colour?"),
    ]
    description = await here.client.get_workflow_handle(run_id).describe()
    assert description.raw_description.workflow_execution_info.history_size_bytes < 30_000


async def test_at_the_price_of_the_tokens_that_the_engine_counted(here: Bench, stage: Stage) -> None:
    stage.plays([Say("A tower."), Say("Grey.")])
    run_id = await here.start("describe", {"questions": ["What is this?", "Which colour?"]})
    usage = (await here.runs.wait(run_id)).receipt.usage
    assert (usage.prompt, usage.cached, usage.output) == (
        sum(record.prompt_tokens for record in stage.requests),
        sum(record.cached_tokens for record in stage.requests),
        sum(record.output_tokens for record in stage.requests),
    )
    rows = [row for row in await here.charges() if row.workflow_id == run_id and row.kind == "generate"]
    assert [(row.outcome, row.estimated, row.rid) for row in rows] == [
        ("used", False, record.rid) for record in stage.requests
    ]
    assert all(row.reserved_tokens > 4_096 for row in rows), "what a picture may come to is reserved"
    assert {record.request.cache_salt for record in stage.requests} == {"default"}


async def test_with_tools_and_an_answer_of_a_kind(here: Bench, stage: Stage) -> None:
    stage.plays(
        [
            Say("I look.", calls=(CallTool("look_at", what="the tower"), CallTool("look_at", what="the gate"))),
            Say("It is 512 high."),
            Say(json={"metres": 512}),
        ]
    )
    run = await here.run("describe", {"then": "ask"})
    assert result_of(run)["value"] == 512
    _, second, last = stage.requests
    assert [message.text for message in second.request.messages if message.role == "tool"] == [
        "the tower is 914 high",
        "the gate is 770 high",
    ]
    assert "json_schema" in last.sampling_params
    assert all(record.request.images for record in stage.requests)


async def test_a_call_that_cannot_be_read_is_said_to_the_model(here: Bench, stage: Stage) -> None:
    stage.plays([Say('<tool_call>\n{"name": \n</tool_call>'), Say("5"), Say(json={"metres": 5})])
    run = await here.run("describe", {"then": "ask"})
    assert result_of(run)["value"] == 5
    assert "a tool call is invalid: it couldn't be read" in stage.requests[1].prompt


async def test_what_is_cancelled_is_aborted_and_billed(here: Bench, stage: Stage) -> None:
    stage.plays(lambda _: Say("on and on " * 200, tokens_per_second=40))
    run_id = await here.start("describe", {"max_tokens": 500})
    await stage.until(lambda: any(record.output_tokens > 2 for record in stage.requests))
    await here.runs.cancel(run_id)
    run = await here.runs.wait(run_id)
    assert run.status is RunStatus.CANCELLED
    (record,) = stage.requests
    assert record.finish == "abort"
    (row,) = [row for row in await here.charges() if row.workflow_id == run_id and row.kind == "generate"]
    assert (row.outcome, row.output_tokens, row.estimated) == ("cancelled", record.output_tokens, False)


async def test_a_summary_ends_the_need_for_them(here: Bench, stage: Stage) -> None:
    def script(request: ScriptedRequest) -> Reply:
        return Say("It was a tower.") if "Write a summary" in request.last_message else Say("Yes.")

    stage.plays(script)
    run = await here.run("describe", {"questions": ["What is this?", "Sure?"], "then": "compact"})
    assert run.status is RunStatus.COMPLETED, run.error
    *with_it, last = stage.requests
    assert all(record.request.images for record in with_it)
    assert not last.request.images
    assert "It was a tower." in last.prompt


async def test_their_prompt_is_warmed_in_the_same_way(here: Bench, stage: Stage) -> None:
    stage.plays(lambda _: Say("ok"))
    run = await here.run("describe", {"then": "warm"})
    assert run.status is RunStatus.COMPLETED, run.error
    warmed, asked = stage.requests
    assert warmed.output_tokens == 1
    assert asked.cached_tokens > 0
    assert warmed.request.images == asked.request.images


@pytest.mark.parametrize(("then", "wish"), [("grade", "graded"), ("vote", "measured or watched")])
async def test_what_goes_by_tokens_is_refused(here: Bench, stage: Stage, then: str, wish: str) -> None:
    stage.plays(lambda _: Say("ok"))
    run = await here.run("describe", {"then": then})
    assert run.status is RunStatus.FAILED
    assert f"a conversation with images can't be {wish}" in str(run.error)


async def test_over_rest(here: Bench, stage: Stage) -> None:
    stage.plays([Say("A tower.")])
    async with (
        serving(create_api(here.runs, settings=here.settings), "127.0.0.1", 0) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as http,
    ):

        async def put(data: bytes, kind: str = "image/png") -> httpx.Response:
            return await http.post("/v1/images", content=data, headers={"content-type": kind})

        kept = await put(JPEG, "image/jpeg")
        assert kept.status_code == 201
        assert kept.json() == (await put(JPEG, "image/jpeg; charset=binary")).json() == Image.of(JPEG).model_dump()
        refused = [await put(PNG, "image/jpeg"), await put(PNG, "image/svg+xml"), await put(b"no", "image/png")]
        too_large = await put(b"\x89PNG\r\n\x1a\n" + bytes(MAX_IMAGE), "image/png")
    assert [response.status_code for response in (*refused, too_large)] == [422, 415, 422, 413]
    assert "it is said to be image/jpeg, and its bytes are image/png" in refused[0].json()["detail"]
    run = await here.run("describe", {"image": kept.json()})
    assert result_of(run)["replies"] == ["A tower."]
    assert stage.requests[0].request.images == (sent(JPEG, "image/jpeg"),)


async def test_not_of_another_tenant(here: Bench, stage: Stage) -> None:
    image = await here.runs.put_image(GIF, tenant="somebody-else")
    run = await here.run("describe", {"image": image.model_dump(mode="json")})
    assert run.status is RunStatus.FAILED
    assert f"no image is called '{image.blob}'" in str(run.error)
    assert not stage.requests


async def test_from_a_url_only_where_that_is_allowed(here: Bench, stage: Stage) -> None:
    run = await here.run("describe", {"image": {"url": "https://example.org/tower.png"}})
    assert run.status is RunStatus.FAILED
    assert "the conversation has an image at a URL, and engines here may not fetch any" in str(run.error)
    assert not stage.requests


def _shows(image: Image, text: str = "What is this?") -> list[Message]:
    return [SystemMessage(content="You see."), UserMessage.of(text, [image])]


async def test_the_engine_is_given_the_url_as_it_is(database: Database) -> None:
    async with scripted_engine([], vision=True) as scripted, SGLang.open(scripted.url) as engine:
        store = TranscriptStore(database)
        said = _shows(Image.from_url("https://example.org/a.png?size=2"))
        with pytest.raises(ConfigurationError, match="ORCHESTRATOR_ENGINE__IMAGE_URLS=true"):
            await Prompts(engine, store).prepare("t", None, said)
        prompt = await Prompts(engine, store, image_urls=True).prepare("t", None, said)
        assert prompt.chat is not None
        assert prompt.chat.messages[1] == {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png?size=2"}},
                {"type": "text", "text": "What is this?"},
            ],
        }


async def test_a_model_without_eyes_says_so(database: Database) -> None:
    async with scripted_engine([]) as scripted, SGLang.open(scripted.url) as engine:
        store = TranscriptStore(database)
        async with database.begin() as connection:
            image = await store.put_image(connection, PNG, "t")
        with pytest.raises(EngineRejected, match="its model sees no images: ask a pool whose model does"):
            await Prompts(engine, store).prepare("t", None, _shows(image))
        with pytest.raises(EngineRejected):
            await Prompts(engine, store).prepare("t", None, _shows(image, ""))


async def test_the_store_keeps_them_byte_by_byte_for_their_tenant(database: Database) -> None:
    store = TranscriptStore(database)
    for data in (PNG, JPEG, GIF, WEBP, picture(1_000_000)):
        async with database.begin() as connection:
            image = await store.put_image(connection, data, "t")
            assert image == await store.put_image(connection, data, "t")
        assert await store.image(image, "t") == data
        with pytest.raises(UnknownName, match="no image is called"):
            await store.image(image, "u")


@pytest.mark.parametrize(
    ("data", "media_type"),
    [(PNG, "image/png"), (JPEG, "image/jpeg"), (GIF, "image/gif"), (b"GIF87a", "image/gif"), (WEBP, "image/webp")],
)
def test_the_kind_is_known_by_the_bytes(data: bytes, media_type: str) -> None:
    assert Image.of(data).media_type == media_type
    assert Image.of(data, media_type) == Image.of(data)


@pytest.mark.parametrize(
    "data",
    [b"", b"BM bitmap", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"RIFF\0\0\0\0WAVE", b"%PDF-1.7", b"\x89PN"],
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="its bytes are none of image/png, image/jpeg, image/webp, image/gif"):
        Image.of(data)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a.png",
        "file:///etc/passwd",
        "data:image/png;base64,aaaa",
        "ftp://example.org/a.png",
        "https://",
        "https://name:password@example.org/a.png",
        "https://example.org/a b.png",
        "https://example.org/\n",
        "https://[::1/a.png",
        "https://example.org/" + "a" * 2_048,
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="the input of an image is invalid: its url"):
        Image.from_url(url)
    with pytest.raises(ValidationError):
        Image(url=url)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"blob": "0" * 64},
        {"blob": "0" * 64, "size": 5},
        {"blob": "../../etc", "size": 5, "media_type": "image/png"},
        {"blob": "0" * 64, "size": 5, "media_type": "image/svg+xml"},
        {"blob": "0" * 64, "size": 5, "media_type": "image/png", "url": "https://example.org"},
        {"url": "https://example.org", "detail": "high"},
    ],
)
def test_what_names_none_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Image.model_validate(fields)


def test_bytes_in_a_workflow_are_refused_with_what_to_do() -> None:
    anything: Any = [PNG]
    with pytest.raises(DefinitionError, match=r"ToolContext\.put_image and POST /v1/images"):
        UserMessage.of("What is this?", anything)


def test_a_text_alone_is_named_as_it_always_was() -> None:
    name = "00368c9042800700a85ac9fd5d161d945261227e9530476ecbdeaa86ba12ef2e"
    assert chain_hash(None, UserMessage.of("hello"), "t") == name
    assert chain_hash(None, UserMessage.model_validate({"role": "user", "content": "hello"}), "t") == name
    parts = UserMessage(content=(TextPart(text="hello"),))
    image, other = Image.of(PNG), Image.of(GIF)
    said = [parts, UserMessage.of("hello", [image]), UserMessage.of("hello", [other]), UserMessage.of("", [image])]
    assert len({name, *(chain_hash(None, message, "t") for message in said)}) == 5
    for message in said:
        assert UserMessage.model_validate_json(message.model_dump_json()) == message
