import random

import pytest

from orchestrator.database import Database
from orchestrator.errors import InvalidInput
from orchestrator_retrieval import CollectionRetriever, Collections, Document
from orchestrator_retrieval.fulltext import terms_of

HOSTILE = [
    '"',
    "'",
    "''; DROP TABLE chunks; --",
    "AND",
    "apples AND",
    "NOT apples",
    "NEAR(apples pears, 2)",
    "text:apples",
    "chunks_fulltext:x",
    "apples*",
    "^apples",
    "-apples",
    "(((",
    "a:* & !b | <-> c",
    "\\",
    "\0",
    "apples\0pears",
    "\ud800 lone surrogate",
    "%s %(x)s $1 ? :name",
    "<b>apples</b>",
    "___",
    "the of and",
    "日本語 apples",
    "é́́́",
    "🍏" * 50,
    "apples " * 2000,
    "x" * 5000,
    " ".join(f"word{number}" for number in range(1000)),
]


@pytest.fixture
async def by_words(database: Database) -> CollectionRetriever:
    collections = Collections(database, None)
    await collections.create("t", "c")
    texts = {"fruit": "Apples, pears and os.path", "tags": "<b>bold</b> snake_case 日本語", "sums": "3.14 a/b c:d"}
    await collections.add("t", "c", [Document(name=name, text=text) for name, text in texts.items()])
    return CollectionRetriever(database, None)


async def test_whatever_the_user_types_is_words(by_words: CollectionRetriever) -> None:
    generator = random.Random(0)
    alphabet = "ab \"'()*:^-+&|!<>\\/%$?;,.{}[]~@#_\t\n\0é語"
    noise = ["".join(generator.choices(alphabet, k=generator.randint(1, 30))) for _ in range(150)]
    for query in HOSTILE + [query for query in noise if query.strip()]:
        await by_words.search("t", "c", query, k=3)


@pytest.mark.parametrize(
    ("query", "document"),
    [
        ("an apple", "fruit"),
        ('"apples" AND (nothing', "fruit"),
        ("os", "fruit"),
        ("os.path.join", "fruit"),
        ("bold", "tags"),
        ("snake", "tags"),
        ("日本語", "tags"),
        ("3.14", "sums"),
    ],
)
async def test_words_are_found_whatever_is_around_them(
    by_words: CollectionRetriever, query: str, document: str
) -> None:
    result = await by_words.search("t", "c", query, k=3)
    assert [passage.document for passage in result.passages] == [document]


async def test_a_query_without_words_or_with_a_senseless_k_is_refused(by_words: CollectionRetriever) -> None:
    with pytest.raises(InvalidInput, match="empty"):
        await by_words.search("t", "c", " \n", k=3)
    for k in (0, -1, 1001):
        with pytest.raises(InvalidInput, match="must be from 1 to 1,000"):
            await by_words.search("t", "c", "apples", k=k)


def test_stop_words_are_left_out_unless_there_is_nothing_else() -> None:
    assert terms_of("What is the meaning of `with`, the Meaning?") == ["meaning"]
    assert terms_of("with the") == ["with", "the"]
