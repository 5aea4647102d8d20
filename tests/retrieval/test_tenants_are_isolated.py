import pytest

from orchestrator.errors import UnknownName
from orchestrator_retrieval import CollectionRetriever, Collections, Document


async def test_the_same_name_is_another_collection_for_another_tenant(
    collections: Collections, retriever: CollectionRetriever
) -> None:
    for tenant in ("red", "blue"):
        assert await collections.create(tenant, "notes")
        await collections.add(tenant, "notes", [Document(name=f"{tenant}.txt", text=f"the secret of {tenant}")])
    for tenant in ("red", "blue"):
        result = await retriever.search(tenant, "notes", "secret red blue", k=10)
        assert [passage.document for passage in result.passages] == [f"{tenant}.txt"]
        assert await retriever.collections(tenant) == ["notes"]


async def test_a_tenants_collections_are_unknown_to_others_even_by_suggestion(
    collections: Collections, retriever: CollectionRetriever
) -> None:
    await collections.create("red", "acquisition-plans")
    with pytest.raises(UnknownName, match="there is none yet"):
        await retriever.search("blue", "acquisition-plan", "x", k=1)
    assert await collections.summaries("blue") == []


async def test_a_wrong_name_gets_a_suggestion(collections: Collections, retriever: CollectionRetriever) -> None:
    await collections.create("t", "handbook")
    await collections.add("t", "handbook", [Document(name="refunds.md", text="five days")])
    with pytest.raises(UnknownName, match="did you mean 'handbook'"):
        await retriever.search("t", "hanbook", "x", k=1)
    with pytest.raises(UnknownName, match="did you mean 'handbook'"):
        await collections.add("t", "hand-book", [])
    with pytest.raises(UnknownName, match=r"did you mean 'refunds\.md'"):
        await collections.remove("t", "handbook", "refund.md")
