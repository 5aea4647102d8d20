"""Numbers and expressions in what models write, and the checks made of them."""

from fractions import Fraction

import pytest
from pydantic import JsonValue, TypeAdapter, ValidationError

from orchestrator_workflows.arithmetic import arithmetic, last_expression, last_number, shown
from orchestrator_workflows.checks import Check

CHECK: TypeAdapter[Check] = TypeAdapter(Check)
GAME_OF_24: dict[str, JsonValue] = {"kind": "expression", "makes": 24, "of": [4, 7, 8, 8]}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("It is 42.", "42"),
        ("2 + 2 = 4, so it is $1,204.50!", "1204.5"),
        ("It fell to −7", "-7"),
        ("between 3 and 4", "4"),
        ("a share of 2/6", "1/3"),
        ("6/4", "1.5"),
        ("\\boxed{18} is bigger than 3", "18"),
        ("\\boxed{x} = 5", "5"),
        ("version 1.2.3", None),
        ("4th of A7", None),
        ("no number", None),
        ("1/0", None),
        ("007", "7"),
        ("50% of them", "50"),
    ],
)
def test_the_last_number_is_read(text: str, number: str | None) -> None:
    assert last_number(text) == number


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("(8 - 4) × (7 - 1) = 24.", "(8 - 4) * (7 - 1)"),
        ("First 8 - 4 = 4. So: 4 x 6 = 24", "4 * 6"),
        ("The answer is 3*(4+4)", "3*(4+4)"),
        ("It is 24.", None),
        ("(3 + 4", None),
        ("on 2026-11-25", "2026-11-25"),
        ("-5 + 7 ÷ 2, I think", "-5 + 7 / 2"),
    ],
)
def test_the_last_expression_is_read(text: str, expression: str | None) -> None:
    assert last_expression(text) == expression


@pytest.mark.parametrize(
    ("expression", "value", "numbers"),
    [("1 / 3 * 3", Fraction(1), (1, 3, 3)), ("-(2 - 5) * 4", Fraction(12), (2, 5, 4)), ("8 / (3 - 8 / 3)", 24, None)],
)
def test_arithmetic_has_no_rounding(expression: str, value: Fraction, numbers: tuple[int, ...] | None) -> None:
    found = arithmetic(expression)
    assert found.value == value
    assert numbers is None or sorted(found.numbers) == sorted(numbers)


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("2 ** 999999", "isn't made of whole numbers"),
        ("__import__('os')", "isn't made of whole numbers"),
        ("2.5 + 1", "isn't made of whole numbers"),
        ("True + 1", "isn't made of whole numbers"),
        ("1 / (3 - 3)", "divides by zero"),
        ("2 +", "is no expression"),
        ("1+" * 200 + "1", "longer than 200"),
        ("(" * 150 + "1" + ")" * 40, "is no expression"),
    ],
)
def test_all_else_is_refused(expression: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        arithmetic(expression)


@pytest.mark.parametrize(
    ("number", "text"),
    [(Fraction(-3, 4), "-0.75"), (Fraction(1, 3), "1/3"), (Fraction(10), "10"), (Fraction(-1, 200), "-0.005")],
)
def test_a_number_is_written_in_one_way(number: Fraction, text: str) -> None:
    assert shown(number) == text


@pytest.mark.parametrize(
    ("given", "same"), [(42, "42"), (0.1, "0.1"), ("3/4", "0.75"), ("42.0", "42"), ("1e3", "1000"), (-0.5, "-0.5")]
)
def test_the_right_number_is_exact_however_it_is_given(given: JsonValue, same: str) -> None:
    check = CHECK.validate_python({"kind": "number", "equals": given})
    assert check.verdict(same).passed
    assert not check.verdict("41").passed
    assert "42" not in check.verdict("41").feedback, "the answer isn't given away"


@pytest.mark.parametrize(
    ("answer", "score", "says"),
    [
        ("(7 - 8 / 8) * 4", 1.0, ""),
        ("7 + 8 + 8 + 4", 0.5, "it is 27, not 24"),
        ("3 * 8", 0.0, "it uses 3, which isn't there, and it doesn't use 4, 7, 8"),
        ("4 * 7 - 8 + 8 - 4", 0.0, "it uses 4, which isn't there"),
    ],
)
def test_an_expression_must_use_its_numbers_once(answer: str, score: float, says: str) -> None:
    verdict = CHECK.validate_python(GAME_OF_24).verdict(answer)
    assert verdict.score == score
    assert verdict.passed is (score == 1)
    assert says in verdict.feedback


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"kind": "number", "equals": "a lot"}, "is no number: write 42"),
        ({"kind": "number", "equals": True}, "string"),
        ({"kind": "number", "equals": "1/0"}, "is no number"),
        ({"kind": "number", "equals": "inf"}, "is no number"),
        ({"kind": "expression", "makes": 24, "of": [4]}, "at least 2"),
        ({"kind": "expression", "makes": 24, "of": [4, -7]}, "greater than or equal to 0"),
        ({"kind": "prose"}, "'number', 'expression'"),
    ],
)
def test_a_check_that_cant_be_is_refused(given: JsonValue, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        CHECK.validate_python(given)
