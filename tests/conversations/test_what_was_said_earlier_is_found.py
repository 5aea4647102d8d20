"""What a compacted conversation no longer shows is found by its words: by the program, and by the model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.passages import Passage
from orchestrator.testing import CallTool, Reply, Say, ScriptedRequest
from orchestrator.transcripts.recalling import PIECE, Said, best_passages
from tests.bench import Bench, result_of
from tests.conversations.program import book
from tests.conversations.test_long_results_are_read_page_by_page import reader

if TYPE_CHECKING:
    from tests.conversations.conftest import Stage
else:
    Stage = Any

WANTED = "Write a summary"


def answers(request: ScriptedRequest) -> Reply:
    if WANTED in request.last_message:
        return Say("Some heights.")
    return Say(f"Noted: {request.last_message.rpartition(chr(10))[2]}")


async def test_by_the_program(here: Bench, stage: Stage) -> None:
    stage.plays(answers)
    said = ["The bridge carries 40 tonnes.", "The tower is white.", "The gate is shut."]
    talked = result_of(await here.run("talk", {"say": [*said, "Go on."], "compact_after": 3}))
    value: dict[str, Any] = {
        "ref": talked["refs"][-1],
        "tools": ["look_at"],
        "recall": "How many tonnes do bridges carry?",
    }
    run = await here.run("resume", value)
    assert result_of(run)[0] == ["user", "The bridge carries 40 tonnes."]
    assert result_of(run)[1] == ["assistant", "Noted: The bridge carries 40 tonnes."]
    assert run.receipt.cost == 0
    shown = await here.run("resume", {**value, "recall": "Is the gate shut?"})
    assert all("gate" not in text for _, text in result_of(shown)), "it is still shown"


async def test_after_several_compactions_too(here: Bench, stage: Stage) -> None:
    stage.plays(answers)
    said = [f"The password of door {number} is {word}." for number, word in enumerate(["owl", "fox", "elk", "bee"])]
    value: dict[str, Any] = {"say": [*said, *"abcdef"], "compact_at": 100, "keep_last": 1, "summary_tokens": 20}
    talked = result_of(await here.run("talk", value))
    assert sum(WANTED in record.request.last_message for record in stage.requests) >= 2
    for word in ("owl", "fox", "elk", "bee"):
        assert word not in stage.requests[-1].prompt
        value = {"ref": talked["refs"][-1], "tools": ["look_at"], "recall": word}
        found = result_of(await here.run("resume", value))
        assert any(text.endswith(f"is {word}.") for _, text in found), word


async def test_by_the_model(here: Bench, stage: Stage) -> None:
    def script(request: ScriptedRequest) -> Reply:
        if WANTED in request.last_message:
            return Say("Heights.")
        if request.last_message.startswith("["):
            return Say("Found.")
        if "look it up with recall" in request.prompt:
            return CallTool("recall", query="height of steeple 0")
        return CallTool("look_at", what=f"Steeple {request.step}")

    stage.plays(script)
    run = await here.run("climb", {"say": ["How high is it?"], "compact_at": 470, "keep_last": 1, "recall": True})
    assert result_of(run)[0] == "Found."
    told = [record.request.last_message for record in stage.requests if record.request.last_message.startswith("[1]")]
    assert told
    assert told[0].startswith("[1] ")
    assert "Steeple 0 is" in told[0]
    assert ("tool", "recall", 0) in {(row.kind, row.name, row.cost_nano) for row in await here.charges()}


async def test_a_result_once_however_many_pages_of_it_were_read(here: Bench, stage: Stage) -> None:
    stage.plays(reader(11, 6_000))
    _, ref = result_of(await here.run("read", {"show": 2_000}))
    stage.plays(answers)
    value: dict[str, Any] = {
        "ref": ref,
        "tools": ["read_book", "look_at"],
        "compact": True,
        "recall": "line 40 of book 11",
    }
    first, second = result_of(await here.run("resume", value))
    assert first[0] == "result of read_book"
    assert "Line 40 of book 11" in first[1]
    assert first[1] != second[1]


async def test_where_all_is_still_shown_the_model_is_told(here: Bench, stage: Stage) -> None:
    stage.plays([CallTool("recall", query="anything"), Say("ok")])
    await here.run("climb", {"say": ["How high?"], "compact_at": 10_000, "recall": True})
    assert stage.requests[-1].request.last_message == "All that was said is still shown."


def found(said: Sequence[str], query: str, k: int = 3) -> list[Passage]:
    return best_passages([Said(id=str(n), who="user", text=text) for n, text in enumerate(said)], query, k)


def test_a_long_text_is_found_by_its_passages() -> None:
    whole = book(1, 50_000)
    (passage,) = found([whole], "Line 700", 1)
    assert "Line 700 of" in passage.text
    assert len(passage.text) <= PIECE
    assert passage.id.startswith("0#")


def test_rare_words_count_more_than_common_ones() -> None:
    said = ["the the the and of it is", "the heron stood in the water", "a letter about nothing much"]
    assert found(said, "Is it the heron of the lake?")[0].id == "1#0"
    assert found(said, "what about it")[0].id == "2#0"


def test_no_query_breaks_it() -> None:
    for query in ("", "?!", '"', "NEAR(a b)", "a AND OR", "text:x", "*", "x" * 100_000, "ß 猫 ü", "\x00", "'; DROP"):
        assert len(found(["a b and so on"], query)) <= 1


def test_no_text_is_lost_between_passages() -> None:
    text = " ".join(f"word{number}" for number in range(3_000))
    everything = {
        word for passage in found([text], " ".join(f"word{n}" for n in range(60)), 100) for word in passage.text.split()
    }
    assert {f"word{number}" for number in range(60)} <= everything
