import asyncio
from threading import Event

import anyio
import pytest
from anyio import to_thread

from orchestrator.database import Database
from orchestrator_retrieval import CollectionRetriever, Collections, Document, Embedder
from orchestrator_retrieval import derived as derived_module
from orchestrator_retrieval.index import VectorIndex, open_index


async def found(retriever: CollectionRetriever, query: str, k: int = 10) -> list[str]:
    result = await retriever.search("t", "c", query, k=k)
    assert result.mode == "fulltext+dense (cpu)"
    return [passage.document for passage in result.passages]


async def test_what_another_process_adds_replaces_and_removes_is_seen_at_once(
    database_url: str, collections: Collections, retriever: CollectionRetriever, fake_embedder: Embedder
) -> None:
    await collections.create("t", "c")
    await collections.add("t", "c", [Document(name="a", text="apples and pears"), Document(name="b", text="bridges")])
    assert sorted(await found(retriever, "apples")) == ["a", "b"]
    async with Database.open(database_url) as other_database:
        elsewhere = Collections(other_database, fake_embedder)
        await elsewhere.add("t", "c", [Document(name="d", text="dogs")])
        assert (await found(retriever, "dogs"))[0] == "d"
        await elsewhere.add("t", "c", [Document(name="b", text="bananas")])
        assert (await found(retriever, "bananas"))[0] == "b"
        await elsewhere.remove("t", "c", "a")
    assert sorted(await found(retriever, "apples")) == ["b", "d"]


async def test_a_chunk_that_takes_over_a_removed_ones_id_has_its_own_vector(
    collections: Collections, retriever: CollectionRetriever
) -> None:
    """SQLite gives the highest id again once its row is removed."""
    await collections.create("t", "c")
    await collections.add("t", "c", [Document(name="a", text="apples"), Document(name="z", text="zebras")])
    assert (await found(retriever, "zebras"))[0] == "z"
    await collections.remove("t", "c", "z")
    await collections.add("t", "c", [Document(name="y", text="yachts")])
    result = await retriever.search("t", "c", "yachts", k=2)
    assert [passage.document for passage in result.passages] == ["y", "a"]
    assert result.passages[0].score == pytest.approx(1 / 61 + 2 / 61)


async def test_concurrent_searches_share_one_rebuild(
    collections: Collections, retriever: CollectionRetriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[VectorIndex] = []

    def counted(dimension: int) -> VectorIndex:
        built.append(open_index(dimension))
        return built[-1]

    monkeypatch.setattr(derived_module, "open_index", counted)
    await collections.create("t", "c")
    await collections.add("t", "c", [Document(name="a", text="apples")])
    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(found, retriever, "apples")
    assert len(built) == 1


async def test_two_retrievers_agree(database: Database, collections: Collections, fake_embedder: Embedder) -> None:
    await collections.create("t", "c")
    first = CollectionRetriever(database, fake_embedder)
    for name in ("apples", "bears", "cedars"):
        await collections.add("t", "c", [Document(name=name, text=f"all about {name}")])
        await found(first, name)
    await collections.remove("t", "c", "bears")
    second = CollectionRetriever(database, fake_embedder)
    for query in ("apples", "cedars", "about"):
        assert await found(first, query) == await found(second, query)


async def test_a_search_that_is_cancelled_while_the_index_is_built_leaves_it_whole(
    collections: Collections, retriever: CollectionRetriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `Task.cancel()`, which anyio's shields don't hold off, and which Temporal uses."""
    building, go = Event(), Event()

    def slowly(dimension: int) -> VectorIndex:
        building.set()
        assert go.wait(30)
        return open_index(dimension)

    monkeypatch.setattr(derived_module, "open_index", slowly)
    await collections.create("t", "c")
    await collections.add("t", "c", [Document(name="a", text="apples"), Document(name="b", text="bears")])
    search = asyncio.create_task(found(retriever, "apples"))
    assert await to_thread.run_sync(building.wait, 30)
    search.cancel()
    with pytest.raises(asyncio.CancelledError):
        await search
    go.set()
    result = await retriever.search("t", "c", "bears", k=2)
    assert [passage.score for passage in result.passages] == [pytest.approx(3 / 61), pytest.approx(2 / 62)]
