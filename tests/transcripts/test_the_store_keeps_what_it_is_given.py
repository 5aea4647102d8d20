"""Nodes, token ids and long texts come back as they were written, however often they are, and to their tenant alone."""

import hashlib
from collections.abc import Sequence

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import NoResultFound

from orchestrator.database import Database
from orchestrator.database.tables import blobs, messages, renderings
from orchestrator.errors import UnknownName
from orchestrator.messages import AssistantMessage, BlobRef, Message, SystemMessage, ToolMessage, UserMessage
from orchestrator.transcripts import Node, TranscriptStore
from orchestrator.transcripts.store import Rendering

SAID: list[Message] = [
    SystemMessage(content="Be brief. Ĳß 🦉"),
    UserMessage(content="hello\x00"),
    AssistantMessage(content="hi", reasoning="so it begins"),
    ToolMessage(call_id="1.0", name="search", content=BlobRef(blob="ab", size=5)),
    UserMessage(content="and now?"),
    AssistantMessage(content="bye"),
]
LARGE = 2**32 - 1
"""The largest token id that fits."""


async def _write(database: Database, nodes: Sequence[Node], tenant: str = "t") -> TranscriptStore:
    store = TranscriptStore(database)
    async with database.begin() as connection:
        await store.write(connection, nodes, tenant)
    return store


async def _render(database: Database, ids: dict[str, Rendering], tokenizer: str = "tok") -> None:
    async with database.begin() as connection:
        for name, rendering in ids.items():
            await TranscriptStore(database).write_rendering(connection, name, tokenizer, rendering)


async def test_chains_come_back(database: Database) -> None:
    nodes = TranscriptStore.extend(None, SAID, "t")
    store = await _write(database, nodes)
    assert await store.chain(nodes[-1].hash) == nodes
    assert await store.chain(nodes[2].hash) == nodes[:3]
    assert await store.node(nodes[3].hash, "t") == nodes[3]


async def test_branches_share_their_trunk(database: Database) -> None:
    trunk = TranscriptStore.extend(None, SAID, "t")
    branch = TranscriptStore.extend(trunk[2], [UserMessage(content="elsewhere")], "t")
    store = await _write(database, [*trunk, *branch])
    assert await store.chain(branch[0].hash) == [*trunk[:3], *branch]
    assert await store.chain(trunk[-1].hash) == trunk


async def test_writing_again_changes_nothing(database: Database) -> None:
    nodes = TranscriptStore.extend(None, SAID, "t")
    rendering = {nodes[1].hash: Rendering(ids=[1, 2], whole=True)}
    await _write(database, nodes)
    await _render(database, rendering)
    store = await _write(database, nodes)
    await _render(database, rendering)
    await _render(database, {nodes[1].hash: Rendering(ids=[9], whole=False)})
    await _write(database, [])
    assert await store.chain(nodes[-1].hash) == nodes
    assert list(await store.token_ids(nodes[1].hash, "tok") or ()) == [1, 2]
    async with database.read() as connection:
        rows = [
            (await connection.execute(select(func.count()).select_from(t))).scalar_one() for t in (messages, renderings)
        ]
    assert rows == [len(nodes), 1]


async def test_another_tenant_has_no_such_transcript(database: Database) -> None:
    nodes = TranscriptStore.extend(None, SAID, "t")
    store = await _write(database, nodes)
    for name, tenant in ((nodes[0].hash, "u"), ("0" * 64, "t"), ("", "t")):
        with pytest.raises(UnknownName, match="no transcript is called"):
            await store.node(name, tenant)


async def test_token_ids_of_a_chain_are_put_together(database: Database) -> None:
    nodes = TranscriptStore.extend(None, SAID, "t")
    store = await _write(database, nodes)
    await _render(
        database,
        {
            nodes[1].hash: Rendering(ids=[1, 2, LARGE], whole=True),
            nodes[2].hash: Rendering(ids=[4], whole=False),
            nodes[4].hash: Rendering(ids=[], whole=False),
            nodes[5].hash: Rendering(ids=[7, 8], whole=False),
        },
    )
    assert list(await store.token_ids(nodes[1].hash, "tok") or ()) == [1, 2, LARGE]
    assert list(await store.token_ids(nodes[2].hash, "tok") or ()) == [1, 2, LARGE, 4]
    assert list(await store.token_ids(nodes[5].hash, "tok") or ()) == [1, 2, LARGE, 4, 7, 8]


async def test_a_whole_rendering_begins_anew(database: Database) -> None:
    nodes = TranscriptStore.extend(None, SAID, "t")
    store = await _write(database, nodes)
    await _render(
        database,
        {
            nodes[1].hash: Rendering(ids=[1, 2], whole=True),
            nodes[2].hash: Rendering(ids=[3], whole=False),
            nodes[4].hash: Rendering(ids=[10, 20, 30], whole=True),
            nodes[5].hash: Rendering(ids=[40], whole=False),
        },
    )
    assert list(await store.token_ids(nodes[5].hash, "tok") or ()) == [10, 20, 30, 40]


async def test_ids_that_nobody_has_seen_are_unknown(database: Database) -> None:
    nodes = TranscriptStore.extend(None, SAID, "t")
    store = await _write(database, nodes)
    await _render(database, {nodes[1].hash: Rendering(ids=[1, 2], whole=True)})
    await _render(database, {nodes[4].hash: Rendering(ids=[3], whole=False)})
    assert await store.token_ids(nodes[1].hash, "other tokenizer") is None
    assert await store.token_ids(nodes[5].hash, "tok") is None, "the last reply's ids are missing"
    assert await store.token_ids(nodes[4].hash, "tok") is None, "an earlier reply's ids are missing"
    assert await store.token_ids("0" * 64, "tok") is None


async def test_a_chain_without_a_whole_rendering_is_unknown(database: Database) -> None:
    nodes = TranscriptStore.extend(None, SAID[:3], "t")
    store = await _write(database, nodes)
    await _render(database, {node.hash: Rendering(ids=[1], whole=False) for node in nodes})
    assert await store.token_ids(nodes[-1].hash, "tok") is None


@pytest.mark.parametrize(
    "text", ["", "short", "Ĳß 🦉\x00\r\n" * 5, "x" * 1_000_000], ids=["empty", "short", "odd", "1MB"]
)
async def test_long_texts_come_back(database: Database, text: str) -> None:
    store = TranscriptStore(database)
    refs: list[BlobRef] = []
    for _ in range(2):
        async with database.begin() as connection:
            refs.append(await store.put_text(connection, text, "t"))
    assert refs[0] == refs[1]
    assert refs[0] == BlobRef(blob=hashlib.sha256(text.encode()).hexdigest(), size=len(text.encode()))
    assert await store.text(refs[0], "t") == text
    async with database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(blobs))).scalar_one() == 1


async def test_another_tenants_text_is_not_there(database: Database) -> None:
    store = TranscriptStore(database)
    async with database.begin() as connection:
        ref = await store.put_text(connection, "secret", "t")
    with pytest.raises(NoResultFound):
        await store.text(ref, "u")
    async with database.begin() as connection:
        assert await store.put_text(connection, "secret", "u") == ref
    assert await store.text(ref, "u") == "secret"
