from collections.abc import Sequence
from datetime import timedelta

import anyio
import pytest

from orchestrator.database import Database
from orchestrator_retrieval import CollectionRetriever, Collections, Document, Embedder
from orchestrator_retrieval.coalescing import Coalescer
from orchestrator_retrieval.retriever import MOST_QUERIES


class Doubler:
    """Doubles numbers in batches; holds each batch until it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.started, self.go = anyio.Event(), anyio.Event()

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.started.set()
        await self.go.wait()
        if 13 in items:
            raise ValueError("13")
        return [2 * item for item in items]


async def test_concurrent_searches_are_embedded_at_once(
    database: Database, collections: Collections, fake_embedder: Embedder, embed_calls: list[list[str]]
) -> None:
    retriever = CollectionRetriever(database, fake_embedder, window=timedelta(hours=1))
    words = [f"word{number}" for number in range(MOST_QUERIES // 2)]
    for name in ("first", "second"):
        await collections.create("t", name)
        await collections.add("t", name, [Document(name=word, text=f"{word} in {name}") for word in words])
    embed_calls.clear()

    async def search(collection: str, word: str) -> None:
        result = await retriever.search("t", collection, word, k=3)
        assert (result.passages[0].document, result.passages[0].text) == (word, f"{word} in {collection}")

    async with anyio.create_task_group() as tasks:
        for word in words:
            tasks.start_soon(search, "first", word)
            tasks.start_soon(search, "second", word)
    assert [sorted(texts) for texts in embed_calls] == [sorted(words)]


async def test_a_batch_takes_what_comes_within_the_window_or_until_it_is_full() -> None:
    double = Doubler()
    double.go.set()
    coalescer = Coalescer(double, window=timedelta(hours=1), most=4)
    results: dict[int, int] = {}

    async def submit(item: int) -> None:
        results[item] = await coalescer.submit(item)

    async with anyio.create_task_group() as tasks:
        for item in range(8):
            tasks.start_soon(submit, item)
    assert results == {item: 2 * item for item in range(8)}
    assert sorted(map(sorted, double.batches)) == [[0, 1, 2, 3], [4, 5, 6, 7]]


async def test_an_error_is_raised_for_each_item_and_the_next_batch_is_sound() -> None:
    double = Doubler()
    double.go.set()
    coalescer = Coalescer(double, window=timedelta(hours=1), most=2)
    failed: list[int] = []
    results: list[int] = []

    async def submit(item: int) -> None:
        try:
            results.append(await coalescer.submit(item))
        except ValueError:
            failed.append(item)

    for pair in ((13, 14), (4, 5)):
        async with anyio.create_task_group() as tasks:
            for item in pair:
                tasks.start_soon(submit, item)
    assert (sorted(failed), sorted(results)) == ([13, 14], [8, 10])


@pytest.mark.parametrize("running", [False, True])
async def test_when_the_task_that_runs_a_batch_is_cancelled_the_others_are_answered(running: bool) -> None:
    double = Doubler()
    coalescer = Coalescer(double, window=timedelta(milliseconds=1) if running else timedelta(hours=1), most=3)
    results: list[int] = []

    async def submit(item: int) -> None:
        results.append(await coalescer.submit(item))

    async with anyio.create_task_group() as others:
        async with anyio.create_task_group() as leader:
            leader.start_soon(submit, 1)
            await anyio.wait_all_tasks_blocked()
            for item in (2, 3) if running else (2,):
                others.start_soon(submit, item)
            if running:
                await double.started.wait()
            else:
                await anyio.wait_all_tasks_blocked()
            leader.cancel_scope.cancel()
        double.go.set()
        if not running:
            for item in (3, 4):
                others.start_soon(submit, item)
    assert sorted(results) == ([4, 6] if running else [4, 6, 8])
