from orchestrator.database import Database
from orchestrator_retrieval import CollectionRetriever, Collections, Document, MiniLM
from orchestrator_retrieval.fusion import reciprocal_rank_fusion

TEXTS = {
    "refunds": "Customers get their money back within five working days.",
    "parts": "Spare part ZX-4471-B is kept in the second hall.",
    "holidays": "The office is closed between Christmas and New Year.",
    "parking": "Bicycles are parked behind the canteen.",
    "safety": "Wear a helmet and gloves at the press.",
    "travel": "Train tickets are booked by the assistant.",
}


async def filled(database: Database, minilm: MiniLM) -> CollectionRetriever:
    collections = Collections(database, minilm)
    await collections.create("t", "handbook")
    await collections.add("t", "handbook", [Document(name=name, text=text) for name, text in TEXTS.items()])
    return CollectionRetriever(database, minilm)


async def test_search_finds_by_meaning_without_a_shared_word_and_by_a_word_without_meaning(
    database: Database, minilm: MiniLM
) -> None:
    retriever = await filled(database, minilm)
    by_meaning = await retriever.search("t", "handbook", "how do I obtain reimbursement for a purchase?", k=1)
    assert [passage.id for passage in by_meaning.passages] == ["refunds#0"]
    by_word = await retriever.search("t", "handbook", "4471", k=1)
    assert [passage.id for passage in by_word.passages] == ["parts#0"]
    both = await retriever.search("t", "handbook", "reimbursement ZX-4471-B", k=2)
    assert {passage.document for passage in both.passages} == {"refunds", "parts"}
    assert both.mode == "fulltext+dense (cpu)"
    assert both.passages[0].text == TEXTS[both.passages[0].document]


async def test_without_an_embedder_search_is_by_words_and_says_so(database: Database) -> None:
    collections = Collections(database, None)
    await collections.create("t", "c")
    await collections.add("t", "c", [Document(name="a", text="closing files"), Document(name="b", text="open doors")])
    result = await CollectionRetriever(database, None).search("t", "c", "how is a file closed?", k=5)
    assert (result.mode, [passage.document for passage in result.passages]) == ("fulltext", ["a"])


def test_a_ranking_counts_by_its_weight_and_ties_go_to_the_smaller_id() -> None:
    assert [item for item, _ in reciprocal_rank_fusion([(1, [1, 2]), (2, [3, 2])])] == [2, 3, 1]
    assert [item for item, _ in reciprocal_rank_fusion([(1, [9]), (1, [4])])] == [4, 9]


async def test_a_text_in_two_documents_is_found_once(database: Database) -> None:
    store = Collections(database, None)
    await store.create("default", "twins")
    twins = [Document(name=name, text="The finally clause always runs.") for name in ("try", "compound")]
    await store.add("default", "twins", [*twins, Document(name="with", text="A finally clause may return.")])
    result = await CollectionRetriever(database, None).search("default", "twins", "finally clause", k=3)
    assert [passage.document for passage in result.passages] == ["try", "with"]
