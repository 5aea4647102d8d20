from collections.abc import Callable, Sequence
from typing import Any

import pytest
from pydantic import JsonValue

from orchestrator.errors import InvalidInput
from orchestrator.testing import Fail, Say
from orchestrator.testing.replies import Reply
from orchestrator.testing.requests import ScriptedRequest
from orchestrator_retrieval import Collections, Document
from orchestrator_workflows import app
from tests.bench import Bench
from tests.workflows.conftest import Staged

FIELDS: dict[str, JsonValue] = {"number": "integer", "colour": "string"}
NAMES = [f"bill {number:02}" for number in range(7)]


@pytest.fixture
async def bills(staged: Staged, here: Bench, tenant: str) -> Staged:
    """With a collection of seven."""
    made = Collections(here.database, None)
    await made.create(tenant, "bills")
    await made.add(tenant, "bills", [Document(name=name, text=f"This is {name}, in blue.") for name in NAMES])
    return staged


def _name(request: ScriptedRequest) -> str:
    (first,) = [message.text for message in request.messages if message.role == "user"][:1]
    return first.partition("\n")[0]


def _reads(**instead: Reply) -> Callable[[ScriptedRequest], Reply]:
    def script(request: ScriptedRequest) -> Reply:
        name = _name(request)
        return instead.get(name.replace(" ", "_"), Say(json={"number": int(name[-2:]), "colour": "blue"}))

    return script


def _items(names: Sequence[str]) -> list[dict[str, JsonValue]]:
    return [{"document": name, "value": {"number": int(name[-2:]), "colour": "blue"}} for name in names]


async def test_a_collection_is_read_in_as_many_runs_as_it_takes(bills: Staged) -> None:
    stage = bills(_reads())
    found = await stage.result("extract", collection="bills", fields=FIELDS, every=3, parallel=2)
    assert found["items"] == _items(NAMES)
    assert (found["documents"], found["failed"], found["stopped"], found["rest"]) == (7, [], None, None)
    asked = [_name(record.request) for record in stage.requests]
    assert sorted(asked) == NAMES, "each document is read once"
    described = await stage.here.client.get_workflow_handle(stage.here.started[-1]).describe()
    assert described.run_id != described.raw_description.workflow_execution_info.first_run_id
    usage = found["receipt"]["usage"]
    assert (usage["prompt"], usage["output"]) == stage.tokens, "the bill of the whole chain"
    account = await stage.account()
    assert account.spent_tokens == sum(stage.tokens)


async def test_texts_are_read_too_and_handed_on(staged: Staged) -> None:
    stage = staged(_reads())
    texts: list[JsonValue] = [{"name": name, "text": "blue"} for name in NAMES]
    found = await stage.result("extract", texts=texts, fields=FIELDS, every=3)
    assert found["items"] == _items(NAMES)
    assert found["receipt"]["steps"] == 7


async def test_a_document_that_fails_is_listed_and_the_others_are_read(bills: Staged) -> None:
    stage = bills(_reads(bill_01=Say("{{{"), bill_04=Fail(status=400, message="too long for me")))
    found = await stage.result("extract", collection="bills", fields=FIELDS, every=4)
    assert found["items"] == _items([name for name in NAMES if name not in ("bill 01", "bill 04")])
    garbled, refused = found["failed"]
    assert garbled["document"] == "bill 01"
    assert "after 2 attempts the model's reply is no valid" in garbled["problem"]
    assert refused["document"] == "bill 04"
    assert "too long for me" in refused["problem"]
    assert (found["documents"], found["stopped"]) == (7, None)


async def test_a_document_that_is_too_long_is_not_cut(staged: Staged) -> None:
    stage = staged([])
    texts: list[JsonValue] = [{"name": "bill 01", "text": "x" * 30}]
    found = await stage.result("extract", texts=texts, fields=FIELDS, max_characters=20)
    assert "it has 30 characters; max_characters is 20" in found["failed"][0]["problem"]


async def test_what_is_left_at_the_limit_is_done_by_another_run(bills: Staged) -> None:
    stage = bills(_reads())
    first = await stage.result("extract", collection="bills", fields=FIELDS, limit=5, every=3)
    assert (first["documents"], first["stopped"]) == (5, "the limit of 5 documents")
    second = await stage.result("extract", collection="bills", fields=FIELDS, rest=first["rest"])
    assert [*first["items"], *second["items"]] == _items(NAMES)
    assert (second["documents"], second["stopped"], second["rest"]) == (2, None, None)


async def test_at_the_end_of_the_budget_what_was_found_is_kept(bills: Staged) -> None:
    stage = bills(_reads())
    once = await stage.result("extract", collection="bills", fields=FIELDS, limit=1)
    usage = once["receipt"]["usage"]
    spent = usage["prompt"] + usage["output"]
    await stage.leaves(spent * 3 + 512)
    first = await stage.result("extract", collection="bills", fields=FIELDS, parallel=2, every=5)
    assert 1 <= len(first["items"]) < 7
    assert f"the limit of tenant '{stage.tenant}' for this day" in first["stopped"]
    await stage.leaves(10**9)
    second = await stage.result("extract", collection="bills", fields=FIELDS, rest=first["rest"])
    both: list[Any] = [*first["items"], *second["items"]]
    assert sorted(item["document"] for item in both) == NAMES, "none is lost, and none is read twice"


async def test_an_unknown_collection_ends_it(bills: Staged) -> None:
    stage = bills([])
    problem = await stage.problem("extract", collection="bils", fields=FIELDS)
    assert "UnknownName: no collection is called 'bils': did you mean 'bills'?" in problem


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "give a collection, or texts"),
        ({"collection": "a", "texts": [{"name": "a", "text": "b"}]}, "give a collection, or texts"),
        ({"collection": "a", "fields": None}, "give fields, or a schema"),
        ({"collection": "a", "fields": {"total": "money"}}, "fields.total: Input should be 'string', 'number'"),
        ({"collection": "a", "fields": None, "schema": {"type": "string"}}, "its type must be 'object'"),
        ({"collection": "a", "fields": None, "schema": {"type": "object"}}, "an object without 'properties'"),
        ({"texts": [{"name": "a", "text": "b"}] * 2}, "each needs a name of its own"),
        ({"texts": [{"name": "a", "text": "b" * 600_000}]}, "600,022 bytes, more than 500,000; put them into a coll"),
        ({"collection": "a", "parallel": 64, "max_tokens": 8192}, "parallel times max_tokens is 524,288"),
        ({"collection": "a", "every": 0}, "every"),
    ],
)
def test_an_extraction_that_cant_be_is_refused(given: dict[str, JsonValue], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        app.find_workflow("extract").signature.parse({"fields": FIELDS, **given})


def test_its_schema_shows_what_is_the_callers_to_give() -> None:
    properties: Any = app.find_workflow("extract").signature.input_schema["properties"]
    assert {"collection", "texts", "fields", "schema", "rest"} <= set(properties)
    assert "so_far" not in properties
