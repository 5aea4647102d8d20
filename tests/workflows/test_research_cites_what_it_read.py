import pytest
from pydantic import JsonValue

from orchestrator.errors import InvalidInput
from orchestrator.testing import Say
from orchestrator.testing.replies import Reply
from orchestrator.testing.requests import ScriptedRequest
from orchestrator_retrieval import Collections, Document
from orchestrator_workflows import app
from tests.bench import Bench
from tests.workflows.conftest import Staged

QUESTION = "How long do refunds and deliveries take?"
HANDBOOK = {
    "refunds": "A refund takes five working days.",
    "deliveries": "A delivery takes two days, and three to islands.",
    "hours": "The shop is open from nine to five.",
}
LAW = {"act 7": "Refunds must be made within fourteen days of a delivery."}


@pytest.fixture
async def library(staged: Staged, here: Bench, tenant: str) -> Staged:
    """With collections, searched by words."""
    made = Collections(here.database, None)
    for name, documents in {"handbook": HANDBOOK, "law": LAW, "empty": {}}.items():
        await made.create(tenant, name)
        await made.add(tenant, name, [Document(name=each, text=text) for each, text in documents.items()])
    return staged


def _asked(request: ScriptedRequest) -> str:
    """Which of its three questions the workflow asks."""
    said = request.last_message
    return "plan" if said.startswith("Which searches") else "read" if "Read these" in said else "answer"


def _notes(*missing: str) -> Say:
    return Say(json={"learned": "Something.", "missing": list(missing)})


def _finding(text: str, *passages: int) -> JsonValue:
    return {"text": text, "passages": list(passages)}


async def test_it_searches_on_for_what_is_missing(library: Staged) -> None:
    def script(request: ScriptedRequest) -> Reply:
        match _asked(request), request.step:
            case "plan", _:
                return Say(json=["refund"])
            case "read", 1:
                assert "[1] " in request.last_message
                return _notes("delivery islands", "refund")
            case "read", _:
                return _notes()
            case _:
                return Say(json=[_finding("Refunds take five days.", 1), _finding("Deliveries take two.", 2, 3)])

    stage = library(script)
    found = await stage.result("research", question=QUESTION, collections=["handbook", "law"], queries=2, k=1)
    assert found["queries"] == [QUESTION, "refund", "delivery islands"]
    assert (found["rounds"], found["missing"]) == (2, [])
    assert found["answer"] == "Refunds take five days. [1] Deliveries take two. [2][3]"
    sources = found["sources"]
    assert sorted(source["document"] for source in sources) == ["act 7", "deliveries", "refunds"]
    assert all(source["text"] == ({**HANDBOOK, **LAW})[source["document"]] for source in sources)
    assert {source["collection"] for source in sources} == {"handbook", "law"}
    last = stage.requests[-1].prompt
    assert all(f"[{number}] {source['document']}" in last for number, source in enumerate(sources, 1))


async def test_a_passage_that_was_not_read_cannot_be_cited(library: Staged) -> None:
    answers = iter([[_finding("Soon.", 7)], [_finding("Soon.")], [_finding("Soon.", 1)]])

    def script(request: ScriptedRequest) -> Reply:
        if _asked(request) == "plan":
            return Say(json=["refund"])
        return _notes() if _asked(request) == "read" else Say(json=next(answers))

    stage = library(lambda request: script(request) if request.step < 3 else Say(json=next(answers)))
    found = await stage.result("research", question="refund", collections=["handbook"])
    assert found["answer"] == "Soon. [1]"
    assert "That is not valid" in stage.requests[-1].request.last_message


async def test_rubbish_on_the_way_doesnt_end_it(library: Staged) -> None:
    def script(request: ScriptedRequest) -> Reply:
        if "Answer in a few" in request.last_message:
            return Say(json=[_finding("Five days.", 1)])
        return Say("{{{{")

    stage = library(script)
    found = await stage.result("research", question="refund", collections=["handbook"], k=1)
    assert (found["answer"], found["rounds"]) == ("Five days. [1]", 1)
    assert [source["document"] for source in found["sources"]] == ["refunds"]
    assert "{{{{" not in stage.requests[-1].prompt, "what was no use isn't carried along"
    assert "[1] refunds" in stage.requests[-1].prompt


async def test_an_answer_that_stays_rubbish_is_an_error_that_says_so(library: Staged) -> None:
    stage = library(lambda _: Say("{{{{"))
    problem = await stage.problem("research", question="refund", collections=["handbook"])
    assert problem.startswith("OutputInvalid: after 3 attempts the model's reply is no valid")


async def test_where_nothing_is_found_nothing_is_made_up(library: Staged) -> None:
    stage = library([Say(json=["refund"])])
    found = await stage.result("research", question=QUESTION, collections=["empty"])
    assert found["answer"] == "The collections hold nothing about this."
    assert (found["findings"], found["sources"]) == ([], [])
    assert len(stage.requests) == 1


async def test_at_the_end_of_the_budget_it_answers_from_what_it_has_read(library: Staged) -> None:
    def script(request: ScriptedRequest) -> Reply:
        match _asked(request):
            case "plan":
                return Say(json=["refund"])
            case "read":
                return _notes("delivery islands")
            case _:
                return Say(json=[_finding("Five days.", 1)])

    stage = library(script)
    whole: JsonValue = {"question": "refund", "collections": ["handbook"], "k": 1, "max_tokens": 100}
    assert isinstance(whole, dict)
    first = await stage.result("research", **whole, rounds=1)
    plan, read, answer = stage.requests
    steps = sum(record.prompt_tokens + record.output_tokens for record in (plan, read, answer))
    await stage.leaves(steps + 10)
    found = await stage.result("research", **whole, rounds=3)
    assert found["answer"] == "Five days. [1]"
    assert found["sources"] == first["sources"], "what wasn't read isn't given as a source"
    assert (found["rounds"], found["missing"]) == (2, ["delivery islands"])
    assert len(stage.requests) == 6
    assert "Answer in a few" in stage.requests[-1].request.last_message


async def test_rounds_and_passages_are_bounded(library: Staged) -> None:
    def script(request: ScriptedRequest) -> Reply:
        match _asked(request):
            case "plan":
                return Say(json=["delivery"])
            case "read":
                return _notes(f"shop {request.step}", f"refund {request.step}")
            case _:
                return Say(json=[_finding("So.", 1)])

    stage = library(script)
    found = await stage.result("research", question="islands", collections=["handbook"], rounds=2, queries=1, k=3)
    assert found["rounds"] == 2
    assert found["queries"] == ["islands", "shop 1"]
    assert found["missing"] == ["shop 2", "refund 2"], "what was still wanted is said"
    few = await stage.result("research", question="refund delivery shop", collections=["handbook"], passages=1, k=3)
    assert len(few["sources"]) == 1


async def test_an_unknown_collection_ends_it(library: Staged) -> None:
    stage = library([Say(json=["refund"])])
    problem = await stage.problem("research", question="refund", collections=["handbok"])
    assert "UnknownName: no collection is called 'handbok': did you mean 'handbook'?" in problem


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"collections": []}, "collections: List should have at least 1 item"),
        ({"collections": [""]}, "collections.0"),
        ({"rounds": 0}, "rounds"),
        ({"passages": 101}, "passages"),
        ({"question": ""}, "question"),
        ({"colections": ["a"]}, "colections: Extra inputs"),
    ],
)
def test_a_topic_that_cant_be_is_refused(given: dict[str, JsonValue], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        app.find_workflow("research").signature.parse({"question": "a", "collections": ["b"], **given})
