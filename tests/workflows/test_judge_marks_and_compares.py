from typing import Any

import pytest
from pydantic import JsonValue

from orchestrator.errors import InvalidInput
from orchestrator.testing import Say
from orchestrator.testing.replies import Reply
from orchestrator.testing.requests import ScriptedRequest
from orchestrator_workflows import app
from tests.workflows.conftest import Staged

CASE: dict[str, JsonValue] = {"question": "What is six times seven?", "answer": "It is 42."}
CRITERIA: list[JsonValue] = ["It is right.", "It is brief.", "It is kind."]


def _close(value: float) -> Any:
    return pytest.approx(value)  # pyright: ignore[reportUnknownMemberType]


async def test_each_criterion_takes_one_forward_pass(staged: Staged) -> None:
    def script(request: ScriptedRequest) -> Reply:
        yes = 0.8 if "right" in request.last_message else 0.4 if "brief" in request.last_message else 0.1
        return Say("Yes", probabilities={"Yes": yes, "No": 0.9 - yes})

    stage = staged(script)
    judged = await stage.result("judge", **CASE, criteria=CRITERIA)
    assert [mark["criterion"] for mark in judged["marks"]] == CRITERIA
    assert [mark["score"] for mark in judged["marks"]] == [_close(8 / 9), _close(4 / 9), _close(1 / 9)]
    assert [mark["clear"] for mark in judged["marks"]] == [_close(0.9)] * 3
    assert judged["score"] == _close(13 / 27)
    assert judged["better"] is None
    first, *others = stage.requests
    assert len(others) == 2
    assert stage.tokens[1] <= 3
    assert all(record.cached_tokens > first.prompt_tokens / 2 for record in others), "the answer is read once"


async def test_a_written_verdict_has_reasons(staged: Staged) -> None:
    stage = staged([Say("Hm."), Say(json={"reasons": "Six sevens are 42.", "score": 9})])
    judged = await stage.result("judge", **CASE, how="written")
    (mark,) = judged["marks"]
    assert (mark["reasons"], mark["score"], judged["score"]) == ("Six sevens are 42.", 0.9, 0.9)


async def test_a_verdict_that_stays_rubbish_is_an_error_that_says_so(staged: Staged) -> None:
    stage = staged(lambda _: Say(json={"reasons": "Good.", "score": 11}))
    problem = await stage.problem("judge", **CASE, how="written")
    assert "OutputInvalid: after 3 attempts" in problem
    assert "less than or equal to 10" in problem


@pytest.mark.parametrize(
    ("first", "swapped", "better", "score"),
    [(0.9, 0.2, "answer", 0.85), (0.3, 0.9, "other", 0.2), (0.8, 0.8, "neither", 0.5)],
)
async def test_two_answers_are_read_in_both_orders(
    staged: Staged, first: float, swapped: float, better: str, score: float
) -> None:
    """`first` and `swapped` are how likely the model is to prefer whichever comes first."""

    def script(request: ScriptedRequest) -> Reply:
        a = first if "Answer A:\nIt is 42." in request.prompt else swapped
        return Say("A", probabilities={"A": a, "B": 1 - a})

    stage = staged(script)
    judged = await stage.result("judge", **CASE, other="It is 17.")
    assert (judged["better"], judged["score"]) == (better, _close(score))
    assert len(judged["marks"]) == 2


async def test_two_answers_are_compared_in_writing(staged: Staged) -> None:
    def script(request: ScriptedRequest) -> Reply:
        right = "A" if "Answer A:\nIt is 42." in request.prompt else "B"
        return Say(json={"reasons": "The other one is wrong.", "better": right})

    stage = staged(script)
    judged = await stage.result("judge", **CASE, other="It is 17.", how="written", criteria=CRITERIA)
    assert (judged["better"], judged["score"]) == ("answer", 1.0)
    assert "- It is kind." in stage.requests[0].prompt


@pytest.mark.parametrize(
    ("given", "words"),
    [({"criteria": []}, "criteria"), ({"how": "loudly"}, "'graded' or 'written'"), ({"answer": ""}, "answer")],
)
def test_an_assessment_that_cant_be_is_refused(given: dict[str, JsonValue], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        app.find_workflow("judge").signature.parse({**CASE, **given})
