import pytest
from pydantic import JsonValue

from orchestrator.errors import InvalidInput
from orchestrator.testing import Say
from orchestrator_workflows import app
from tests.workflows.conftest import Staged

DOUBLE: dict[str, JsonValue] = {
    "name": "double",
    "does": "double(x) gives twice x.",
    "tests": ["assert double(2) == 4", "assert double(-3) == -6", "assert double('a') == 'aa', 'texts too'"],
}
WRONG = "Here you are:\n```python\ndef double(x):\n    return x ** 2\n```\nIt squares."
RIGHT = "```python\ndef double(x):\n    return x * 2\n```"


async def test_what_fails_is_told_and_mended(staged: Staged) -> None:
    stage = staged([Say(WRONG), Say(RIGHT)])
    made = await stage.result("code", **DOUBLE)
    assert made["code"] == "def double(x):\n    return x * 2"
    assert (made["passed"], made["score"], made["problem"], made["attempts"]) == (True, 1.0, "", 2)
    told = stage.requests[1].request.last_message
    assert "2 of 3 tests fail" in told
    assert "assert double(-3) == -6\n  AssertionError" in told
    assert "assert double(2) == 4" not in told.partition("Find the mistake")[0], "that one passes"
    account = await stage.account()
    assert account.passed


async def test_the_best_that_there_was_is_given_with_what_is_wrong(staged: Staged) -> None:
    worse = "```\ndef double(x):\n    return none\n```"
    stage = staged([Say(WRONG), Say(worse)])
    made = await stage.result("code", **DOUBLE, strategy={"kind": "revise", "at_most": 2})
    assert "x ** 2" in made["code"]
    assert (made["passed"], made["attempts"]) == (False, 2)
    assert made["score"] == pytest.approx(1 / 3)  # pyright: ignore[reportUnknownMemberType]
    assert "2 of 3 tests fail" in made["problem"]
    account = await stage.account()
    assert account.passed is False


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("```python\ndef double(x):\n    while True: pass\n```", "The program fails: TimeoutError"),
        ("```python\ndef double(x) return x\n```", "The program fails: SyntaxError"),
        ("```python\nimport socket\ndef double(x):\n    return x * 2\n```", "The program fails: ModuleNotFoundError"),
    ],
)
async def test_a_program_that_cant_run_fails_its_tests(staged: Staged, reply: str, problem: str) -> None:
    stage = staged([Say(reply)])
    made = await stage.result("code", **DOUBLE, strategy={"kind": "revise", "at_most": 1})
    assert (made["passed"], made["score"]) == (False, 0.0)
    assert problem in made["problem"]


async def test_a_test_may_hold_a_text_of_several_lines(staged: Staged) -> None:
    stage = staged([Say("```python\ndef lines(text):\n    return text.split('\\n')\n```")])
    test = 'text = """a\nb"""\nassert lines(text) == ["a", "b"]'
    assert (await stage.result("code", name="lines", does="Splits a text into lines.", tests=[test]))["passed"]


async def test_code_is_found_without_fences_and_where_it_was_cut_off(staged: Staged) -> None:
    bare = "Sure.\n\ndef double(x):\n    return x * 2"
    stage = staged([Say(bare), Say("```python\ndef double(x):\n    return x * 2\n")])
    assert (await stage.result("code", **DOUBLE))["passed"]
    assert (await stage.result("code", **DOUBLE))["passed"]


async def test_a_search_goes_by_the_share_of_tests_that_pass(staged: Staged) -> None:
    stage = staged(lambda request: Say(RIGHT if "tests fail" in request.prompt else WRONG))
    made = await stage.result("code", **DOUBLE, strategy={"kind": "adaptive_tree", "at_most": 12})
    assert made["passed"]
    assert made["strategy"] == "adaptive_tree"


async def test_replies_without_code_end_in_an_error_that_says_so(staged: Staged) -> None:
    stage = staged(lambda _: Say("I'd rather not."))
    problem = await stage.problem("code", **DOUBLE, strategy={"kind": "revise", "at_most": 2})
    assert problem.startswith("NoAnswer: revise came to no answer in 2 drafts")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "2x"}, "name: .*no function can be called '2x'"),
        ({"name": "class"}, "no function can be called 'class'"),
        ({"tests": []}, "tests"),
        ({"tests": ["assert double(2 == 4"]}, "tests.0: .*it is no Python"),
        ({"strategy": "best"}, "did you mean 'best_of'"),
        ({"does": ""}, "does"),
    ],
)
def test_a_specification_that_cant_be_is_refused(given: dict[str, JsonValue], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        app.find_workflow("code").signature.parse({**DOUBLE, **given})
