from decimal import Decimal

import pytest
from pydantic import JsonValue

from orchestrator.errors import InvalidInput
from orchestrator.testing import Say
from orchestrator.testing.replies import Reply
from orchestrator.testing.requests import ScriptedRequest
from orchestrator_workflows import app
from tests.workflows.conftest import Staged

MOTION: dict[str, JsonValue] = {"question": "Tea or coffee?", "sides": ["tea", "coffee"]}


def _speaks(request: ScriptedRequest) -> str | None:
    """Which debater is asked; `None`: the judge."""
    system = request.messages[0].text
    return system[len("You are ")] if system.startswith("You are ") else None


def _decides(winner: str) -> Say:
    return Say(json={"reasons": "It was better argued.", "winner": winner, "answer": "Tea."})


def _script(request: ScriptedRequest) -> Reply:
    name = _speaks(request)
    return _decides("A") if name is None else Say(f" {name} speaks, {request.step}. ")


async def test_each_hears_the_others_and_the_judge_hears_all(staged: Staged) -> None:
    stage = staged(_script)
    held = await stage.result("debate", **MOTION, rounds=2)
    assert held["decision"] == {"reasons": "It was better argued.", "winner": "A", "answer": "Tea."}
    assert [(said["debater"], said["round"], said["text"]) for said in held["statements"]] == [
        ("A", 1, "A speaks, 0."),
        ("B", 1, "B speaks, 0."),
        ("A", 2, "A speaks, 1."),
        ("B", 2, "B speaks, 1."),
    ]
    (reply,) = [record.request for record in stage.requests if _speaks(record.request) == "B" and record.request.step]
    assert "You argue for this: coffee" in reply.messages[0].text
    assert "The others say:\n\nA: A speaks, 0." in reply.last_message
    assert "A speaks, 1" not in reply.prompt, "nobody hears what is said at the same time"
    judged = stage.requests[-1].request.last_message
    assert all(said["text"] in judged for said in held["statements"])
    costs = {who: Decimal(receipt["cost"]) for who, receipt in held["costs"].items()}
    assert costs["A"] + costs["B"] + costs["judge"] == costs["total"]
    assert sorted(costs) == ["A", "B", "judge", "total"]


async def test_at_the_end_of_the_budget_the_judge_decides_by_what_was_said(staged: Staged) -> None:
    stage = staged(_script)
    await stage.result("debate", **MOTION, rounds=2, max_tokens=32)
    await stage.leaves(sum(stage.tokens) + 10)
    held = await stage.result("debate", **MOTION, rounds=6, max_tokens=32)
    assert held["decision"]["winner"] == "A"
    assert 4 <= len(held["statements"]) < 12
    judged = stage.requests[-1].request.last_message
    assert all(said["text"] in judged for said in held["statements"])


async def test_the_judge_may_decide_several_times(staged: Staged) -> None:
    decisions = iter(["A", "B", "A", "A", "A", "A"])
    stage = staged(lambda request: _decides(next(decisions)) if _speaks(request) is None else Say("So it is."))
    held = await stage.result("debate", question="Tea or coffee?", debaters=3, rounds=1, judging="vote")
    assert held["decision"]["winner"] == "A"
    assert 0.5 < held["confidence"] < 1
    assert [said["debater"] for said in held["statements"]] == ["A", "B", "C"]


async def test_a_winner_who_wasnt_there_is_sent_back(staged: Staged) -> None:
    decisions = iter(["Z", "B"])
    stage = staged(lambda request: _decides(next(decisions)) if _speaks(request) is None else Say("So it is."))
    assert (await stage.result("debate", **MOTION, rounds=1))["decision"]["winner"] == "B"


async def test_a_judge_that_babbles_ends_in_an_error_that_says_so(staged: Staged) -> None:
    stage = staged(lambda request: Say("Well, well." if _speaks(request) is None else ""))
    problem = await stage.problem("debate", **MOTION, rounds=1)
    assert problem.startswith("NoAnswer: direct came to no answer in 1 drafts")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sides": ["tea"]}, "with one side there is no debate"),
        ({"debaters": 1}, "debaters"),
        ({"rounds": 0}, "rounds"),
        ({"judging": "best_of"}, "judging: best_of needs a judge itself; give 'direct' or 'vote'"),
        ({"sides": ["a"] * 9}, "sides"),
    ],
)
def test_a_motion_that_cant_be_is_refused(given: dict[str, JsonValue], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        app.find_workflow("debate").signature.parse({"question": "Tea or coffee?", **given})
