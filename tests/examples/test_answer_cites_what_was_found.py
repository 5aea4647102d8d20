import pytest
from pydantic import JsonValue

from orchestrator.errors import InvalidInput
from orchestrator.steps import RunStatus
from orchestrator.testing import Say, scripted_engine
from orchestrator_retrieval import CollectionRetriever, Collections
from orchestrator_workflows import app
from tests.bench import bench, result_of

QUESTION = "When do I get my money back?"


def _search(collection: str) -> Say:
    """A call that must be made, so that the decoder is held to its schema, is written as bare JSON."""
    return Say(json={"name": "search_collection", "arguments": {"collection": collection, "query": "late payment"}})


async def test_sources_are_the_cited_passages_best_first(
    temporal_address: str, sqlite_url: str, handbook: Collections, retriever: CollectionRetriever
) -> None:
    found = (await retriever.search("default", "handbook", QUESTION, k=2)).passages
    async with (
        scripted_engine([_search("handbook"), Say(" Within five days. "), Say(json=[2, 1])]) as engine,
        bench([app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("answer", {"question": QUESTION, "collection": "handbook", "k": 2})
        assert run.status is RunStatus.COMPLETED, run.error
        assert run.result == {
            "answer": "Within five days.",
            "sources": [
                {"document": passage.document, "passage": passage.id, "text": passage.text}
                for passage in (found[1], found[0])
            ],
        }
        (searched,) = [message for message in engine.requests[1].request.messages if message.role == "tool"]
        assert searched.text.startswith("handbook/")
        assert "waits for payment" in searched.text


async def test_a_passage_that_was_not_found_cannot_be_cited(
    temporal_address: str, sqlite_url: str, handbook: Collections
) -> None:
    async with (
        scripted_engine([_search("handbook"), Say("Soon."), Say(json=[7]), Say(json=[]), Say(json=[1])]) as engine,
        bench([app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("answer", {"question": QUESTION, "collection": "handbook"})
        assert len(engine.requests) == 5
        assert [source["document"] for source in result_of(run)["sources"]] == ["handbook/refunds.md"]


async def test_without_a_passage_there_is_no_source(
    temporal_address: str, sqlite_url: str, collections: Collections
) -> None:
    await collections.create("default", "empty")
    async with (
        scripted_engine([_search("empty"), Say("I don't know.")]) as engine,
        bench([app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("answer", {"question": QUESTION, "collection": "empty"})
        assert run.result == {"answer": "I don't know.", "sources": []}
        assert "nothing in empty is about that" in engine.requests[1].prompt


async def test_an_unknown_collection_ends_the_run(
    temporal_address: str, sqlite_url: str, handbook: Collections
) -> None:
    async with bench([app], temporal=temporal_address, database_url=sqlite_url, engine=None) as here:
        run = await here.run("answer", {"question": QUESTION, "collection": "hanbook"})
        assert run.status is RunStatus.FAILED
        assert run.error is not None
        assert run.error.type == "UnknownName"
        assert "no collection is called 'hanbook'" in run.error.message
        assert "'handbook'" in run.error.message


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"question": "", "collection": "a"}, "question"),
        ({"question": "x" * 4001, "collection": "a"}, "question"),
        ({"question": "x", "collection": "a", "k": 0}, "k"),
        ({"question": "x", "collection": "a", "colection": "b"}, "colection"),
    ],
)
def test_a_question_outside_its_bounds_is_refused(value: JsonValue, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        app.find_workflow("answer").signature.parse(value)
