import json
from decimal import Decimal
from itertools import cycle

import pytest
from pydantic import JsonValue

from orchestrator.errors import InvalidInput
from orchestrator.strategies import STRATEGIES
from orchestrator.testing import CallTool, Say
from orchestrator.testing.replies import Reply
from orchestrator.testing.requests import ScriptedRequest
from orchestrator_workflows import app
from tests.workflows.conftest import Staged

SIX_TIMES_SEVEN: dict[str, JsonValue] = {"question": "What is six times seven?"}
IS_42: dict[str, JsonValue] = {"kind": "number", "equals": 42}


async def test_the_first_draft_that_passes_its_check_wins(staged: Staged) -> None:
    answers = iter([17, 18, 42])
    stage = staged(lambda _: Say(f"I reckon that it is {next(answers, 19)}."))
    solved = await stage.result(
        "solve", **SIX_TIMES_SEVEN, check=IS_42, strategy={"kind": "best_of", "at_most": 8, "parallel": 1}
    )
    assert (solved["answer"], solved["correct"], solved["confidence"]) == ("42", True, 1.0)
    assert solved["strategy"] == "best_of"
    assert solved["text"] == "I reckon that it is 42."
    assert [(trial["answer"], trial["passed"]) for trial in solved["trials"]] == [
        ("17", False),
        ("18", False),
        ("42", True),
    ]
    receipt = solved["receipt"]
    assert receipt["usage"]["output"] == stage.tokens[1] == sum(t["tokens"] for t in solved["trials"])
    assert 0 < Decimal(receipt["waste"]) < Decimal(receipt["cost"])
    account = await stage.account()
    assert account.passed


async def test_a_puzzle_is_checked_by_exact_arithmetic(staged: Staged) -> None:
    stage = staged([Say("7 + 8 + 8 + 4"), Say("Yes: (7 - 8 / 8) * 4 = 24.")])
    solved = await stage.result(
        "solve",
        question="Make 24 of 4, 7, 8 and 8.",
        check={"kind": "expression", "makes": 24, "of": [4, 7, 8, 8]},
        strategy="revise",
    )
    assert (solved["answer"], solved["correct"]) == ("(7 - 8 / 8) * 4", True)
    assert "7 + 8 + 8 + 4: it is 27, not 24." in stage.requests[1].request.last_message


async def test_a_reply_may_be_held_to_a_form(staged: Staged) -> None:
    stage = staged([Say(json="6 * 7 = ?"), Say(json="6 * 7 = 41"), Say(json="6 * 7 = 42")])
    form: dict[str, JsonValue] = {"type": "string", "pattern": "^[0-9]+ . [0-9]+ = [0-9]+$"}
    strategy: JsonValue = {"kind": "best_of", "parallel": 1}
    solved = await stage.result("solve", **SIX_TIMES_SEVEN, check=IS_42, form=form, strategy=strategy)
    assert (solved["answer"], solved["text"]) == ("42", '"6 * 7 = 42"')
    assert [trial["answer"] for trial in solved["trials"]] == ["41", "42"]
    assert [json.loads(str(record.sampling_params["json_schema"])) for record in stage.requests] == [form] * 3


async def test_without_a_check_drafts_vote(staged: Staged) -> None:
    answers = cycle([42, 17, 42, 42])
    stage = staged(lambda _: Say(f"It is {next(answers)}.00"))
    solved = await stage.result("solve", **SIX_TIMES_SEVEN)
    assert (solved["answer"], solved["correct"], solved["strategy"]) == ("42", None, "vote")
    assert 0.7 < solved["confidence"] < 1
    account = await stage.account()
    assert account.passed is None


async def test_without_a_check_a_judging_strategy_asks_the_model(staged: Staged) -> None:
    drafts = iter([17, 42])

    def script(request: ScriptedRequest) -> Reply:
        if "Is that answer right?" in request.last_message:
            sure = 0.9 if "42" in request.prompt else 0.2
            return Say("Yes", probabilities={"Yes": sure, "No": 1 - sure})
        return Say(f"It is {next(drafts)}.")

    stage = staged(script)
    strategy: JsonValue = {"kind": "best_of", "at_most": 2, "accept": None}
    solved = await stage.result("solve", **SIX_TIMES_SEVEN, strategy=strategy)
    assert (solved["answer"], solved["correct"]) == ("42", None)
    assert solved["confidence"] == pytest.approx(0.9)  # pyright: ignore[reportUnknownMemberType]


async def test_the_model_may_compute(staged: Staged) -> None:
    stage = staged([CallTool("calculator", expression="6*7"), Say("It is 42.")])
    solved = await stage.result("solve", **SIX_TIMES_SEVEN, strategy="agent", tools=True, check=IS_42)
    assert solved["correct"]
    assert stage.requests[1].request.messages[-2].text == "42"


@pytest.mark.parametrize("tokens", [150, 500])
async def test_at_the_end_of_its_budget_the_best_so_far_is_the_answer(staged: Staged, tokens: int) -> None:
    stage = staged(lambda _: Say("Let me see, it may be 17."))
    solved = await stage.result(
        "solve", **SIX_TIMES_SEVEN, check=IS_42, strategy="best_of", budget={"tokens": tokens}, max_tokens=64
    )
    assert (solved["answer"], solved["correct"]) == ("17", False)
    assert 0 < sum(stage.tokens) <= tokens


async def test_drafts_without_an_answer_end_in_an_error_that_says_so(staged: Staged) -> None:
    stage = staged(lambda _: Say("I like numbers."))
    problem = await stage.problem("solve", **SIX_TIMES_SEVEN, check=IS_42, strategy={"kind": "best_of", "at_most": 2})
    assert problem.startswith("NoAnswer: best_of came to no answer in 2 drafts")
    assert "use a stronger model" in problem


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_may_be_given_by_its_name(name: str) -> None:
    problem = app.find_workflow("solve").signature.parse({**SIX_TIMES_SEVEN, "strategy": name})
    assert problem.strategy.kind == name


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"strategy": "wote"}, "strategy: .*no strategy is called 'wote': did you mean 'vote'"),
        ({"strategy": {"kind": "vote", "at_most": 0}}, "at_most: Input should be greater than or equal to 1"),
        ({"strategy": {"kind": "vote", "most": 3}}, "most: Extra inputs are not permitted"),
        ({"strategy": 7}, "strategy"),
        ({"strategy": {"at_most": 3}}, "no strategy is called ''"),
        ({"budget": {"gpu_seconds": 3}}, "gpu_seconds bounds whole runs only: give usd, tokens or calls"),
        ({"budget": {"euros": 3}}, "budget.euros"),
        ({"question": ""}, "question"),
        ({"check": {"kind": "number"}}, "check.number.equals: Field required"),
        ({"temperature": 0}, "temperature"),
        ({"form": {"type": "prose"}}, "schema says no type"),
    ],
)
def test_a_problem_that_cant_be_is_refused(given: dict[str, JsonValue], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        app.find_workflow("solve").signature.parse({**SIX_TIMES_SEVEN, **given})


def test_its_schema_says_what_a_strategy_may_be() -> None:
    schema = str(app.find_workflow("solve").signature.input_schema)
    assert all(name in schema for name in STRATEGIES)
