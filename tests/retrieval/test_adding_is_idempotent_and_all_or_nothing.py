import anyio
import pytest
from sqlalchemy import func, select

from orchestrator.database import Database
from orchestrator.database.tables import chunks
from orchestrator.errors import ConfigurationError, InvalidInput
from orchestrator_retrieval import (
    Added,
    CollectionRetriever,
    Collections,
    CollectionSummary,
    Document,
    DocumentRefused,
    Embedder,
)

APPLES, BEARS = Document(name="a", text="apples"), Document(name="b", text="bears")


async def summary(collections: Collections) -> CollectionSummary:
    (only,) = await collections.summaries("t")
    return only


async def test_adding_again_changes_nothing(collections: Collections, embed_calls: list[list[str]]) -> None:
    assert await collections.create("t", "c")
    assert not await collections.create("t", "c")
    first = await collections.add("t", "c", [APPLES, BEARS])
    assert first == Added(added=("a", "b"), replaced=(), unchanged=(), embedded=2)
    before = await summary(collections)
    assert (before.documents, before.chunks, before.epoch, before.embedder) == (2, 2, 1, "fake-hashing")
    again = await collections.add("t", "c", [BEARS, APPLES])
    assert again == Added(added=(), replaced=(), unchanged=("b", "a"), embedded=0)
    assert await summary(collections) == before
    assert len(embed_calls) == 1


async def test_another_text_replaces_the_document_and_a_known_text_is_not_embedded_again(
    collections: Collections,
) -> None:
    await collections.create("t", "c")
    await collections.add("t", "c", [APPLES, BEARS])
    result = await collections.add("t", "c", [Document(name="a", text="bears"), BEARS, Document(name="d", text="dogs")])
    assert result == Added(added=("d",), replaced=("a",), unchanged=("b",), embedded=1)
    after = await summary(collections)
    assert (after.documents, after.chunks, after.epoch) == (3, 3, 2)


async def test_progress_counts_chunks(collections: Collections) -> None:
    await collections.create("t", "c")
    seen: list[tuple[int, int]] = []
    many = [Document(name=str(number), text=f"number {number}") for number in range(40)]
    await collections.add("t", "c", many, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 40), (16, 40), (32, 40), (40, 40)]


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (Document(name="x", text=" \n"), "is empty"),
        (Document(name="x", text="PK\0\0"), "is binary"),
        (Document(name="x", text="\ud800"), "aren't text"),
        (Document(name="a", text="again"), "is given twice"),
        (Document(name="", text="nameless"), "unusable name"),
    ],
)
async def test_one_bad_document_leaves_all_out(collections: Collections, bad: Document, problem: str) -> None:
    await collections.create("t", "c")
    before = await summary(collections)
    with pytest.raises(DocumentRefused, match=problem):
        await collections.add("t", "c", [APPLES, bad])
    assert await summary(collections) == before


async def test_a_failure_on_the_way_leaves_nothing_but_lets_the_next_attempt_go_on(
    database: Database, collections: Collections, fake_embedder: Embedder, embed_calls: list[list[str]]
) -> None:
    await collections.create("t", "c")
    many = [Document(name=str(number), text=f"number {number}") for number in range(20)]

    def fail(done: int, total: int) -> None:
        if done:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        await collections.add("t", "c", many, progress=fail)
    after = await summary(collections)
    assert (after.documents, after.chunks, after.epoch) == (0, 0, 0)
    async with database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(chunks))).scalar_one() == 0
    result = await collections.add("t", "c", many)
    assert (len(result.added), result.embedded) == (20, 4)
    assert sum(map(len, embed_calls)) == 20


async def test_the_same_documents_added_at_once_are_there_once(collections: Collections) -> None:
    await collections.create("t", "c")
    results: list[Added] = []

    async def add() -> None:
        results.append(await collections.add("t", "c", [APPLES, BEARS]))

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(add)
    assert sorted(result.added for result in results) == [(), (), (), ("a", "b")]
    after = await summary(collections)
    assert (after.documents, after.chunks, after.epoch) == (2, 2, 1)


async def test_a_collection_without_vectors_gets_them_all_once_there_is_a_model(
    database: Database, collections: Collections, retriever: CollectionRetriever
) -> None:
    by_words = Collections(database, None)
    await by_words.create("t", "c")
    await by_words.add("t", "c", [APPLES])
    assert (await retriever.search("t", "c", "apples", k=1)).mode == "fulltext"
    assert (await collections.add("t", "c", [BEARS])).embedded == 2
    result = await retriever.search("t", "c", "apples", k=2)
    assert (result.mode, [passage.document for passage in result.passages]) == ("fulltext+dense (cpu)", ["a", "b"])
    with pytest.raises(ConfigurationError, match="fake-hashing, which isn't installed here"):
        await by_words.add("t", "c", [APPLES])


@pytest.mark.parametrize("name", ["", "  ", "x" * 256, "line\nbreak"])
async def test_unusable_names_are_refused(collections: Collections, name: str) -> None:
    with pytest.raises(InvalidInput, match="printable characters"):
        await collections.create("t", name)
