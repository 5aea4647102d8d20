from datetime import timedelta

import pytest
from pydantic import JsonValue

from orchestrator.errors import InvalidInput
from orchestrator_tools import PythonError, run_python
from tests.tools.programs import Friendly, friendly

PROGRAMS = friendly()


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
async def test_it_prints_and_gives_what_it_should(program: Friendly) -> None:
    result = await run_python(program.code)
    assert (result.printed, result.value, result.error) == (program.printed, program.value, None)


def test_there_are_enough_of_them() -> None:
    assert len(PROGRAMS) >= 15


async def test_it_finds_its_inputs() -> None:
    rows: JsonValue = [{"name": "é", "price": 1.5, "sold": None, "here": True}]
    result = await run_python("[row['price'] * factor for row in rows], rows", inputs={"rows": rows, "factor": 2})
    assert result.value == f"([3.0], {rows!r})"


async def test_it_says_the_same_each_time() -> None:
    program = "import random\nrandom.random(), random.sample(range(100), 5)"
    assert await run_python(program) == await run_python(program)


async def test_it_keeps_nothing_for_the_next() -> None:
    await run_python("x = 3")
    result = await run_python("x")
    assert result.error is not None
    assert str(result.error) == "NameError: name 'x' is not defined"


async def test_an_error_says_where_and_keeps_what_was_printed() -> None:
    result = await run_python("def f(x):\n    return 1 / x\n\nprint('here')\nf(0)")
    assert result.printed == "here\n"
    assert result.error == PythonError(
        kind="ZeroDivisionError",
        message="division by zero",
        where=("line 5, in <module>: f(0)", "line 2, in f: return 1 / x"),
    )


async def test_a_failed_assertion_says_what_was_compared() -> None:
    result = await run_python("def add(a, b):\n    return a - b\n\nassert add(1, 2) == 3")
    assert result.error is not None
    assert str(result.error) == "AssertionError: assert -1 == 3"
    assert result.error.where == ("line 4, in <module>: assert add(1, 2) == 3",)


async def test_a_mistake_of_grammar_says_where() -> None:
    result = await run_python("x = 1\nfor i in range(3)\n    print(i)")
    assert result.error is not None
    assert result.error.kind == "SyntaxError"
    assert result.error.where == ("line 2: for i in range(3)",)


async def test_what_is_cut_says_so() -> None:
    result = await run_python("print('ab' * 10_000)\n'x' * 20_000")
    assert result.printed == "ab" * 8_000 + "\n[cut: 4,001 more characters]"
    assert result.value == "'" + "x" * 15_999 + "\n[cut: 4,002 more characters]"


@pytest.mark.parametrize("name", ["a b", "", "1"])
async def test_an_input_that_no_variable_can_hold_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="no variable can be called"):
        await run_python("1", inputs={name: 1})


async def test_a_program_that_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidInput, match="characters, more than 1,000,000"):
        await run_python("#" * 1_000_000)


@pytest.mark.parametrize("more", [{"timeout": timedelta(0)}, {"memory": 0}])
async def test_a_program_with_no_time_or_room_is_refused(more: dict[str, timedelta | int]) -> None:
    with pytest.raises(InvalidInput, match="must be positive"):
        await run_python("1", **more)  # pyright: ignore[reportArgumentType]
