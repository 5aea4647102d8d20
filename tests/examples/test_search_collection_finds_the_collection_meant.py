import pytest

from orchestrator.errors import UnknownName
from orchestrator_retrieval import CollectionRetriever, Collections, Document
from orchestrator_tools import search_collection
from tests.examples.tool_context import Alone


async def test_it_gives_the_best_passages_with_their_documents(
    handbook: Collections, retriever: CollectionRetriever
) -> None:
    said = await search_collection.function(Alone(retriever), "handbook", "refund of a faulty item")
    assert said.startswith("handbook/refunds.md: # Refunds")
    assert len(said.split("\n\nhandbook/")) <= 2


async def test_the_only_collection_is_meant_whatever_it_was_called(
    handbook: Collections, retriever: CollectionRetriever
) -> None:
    by_name = await search_collection.function(Alone(retriever), "handbook", "express shipping")
    assert await search_collection.function(Alone(retriever), "the documents", "express shipping") == by_name


async def test_with_several_an_unknown_one_is_refused(handbook: Collections, retriever: CollectionRetriever) -> None:
    await handbook.create("default", "other")
    with pytest.raises(UnknownName, match="did you mean 'handbook'") as caught:
        await search_collection.function(Alone(retriever), "hanbook", "express shipping")
    assert caught.value.known == ["handbook", "other"]


async def test_without_any_it_is_refused(collections: Collections, retriever: CollectionRetriever) -> None:
    with pytest.raises(UnknownName, match="none yet"):
        await search_collection.function(Alone(retriever), "handbook", "express shipping")


async def test_another_tenants_collection_is_not_meant(handbook: Collections, retriever: CollectionRetriever) -> None:
    with pytest.raises(UnknownName, match="none yet"):
        await search_collection.function(Alone(retriever, tenant="stranger"), "handbook", "express shipping")


async def test_what_it_gives_stays_small(collections: Collections, retriever: CollectionRetriever) -> None:
    await collections.create("default", "long")
    await collections.add("default", "long", [Document(name=f"{n}.txt", text="shipping " * 5000) for n in range(3)])
    assert len(await search_collection.function(Alone(retriever), "long", "shipping")) < 2100
