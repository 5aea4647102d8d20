"""Write a Python function, run its tests in the sandbox, and revise it by what fails."""

import ast
import json
import keyword
import re
from datetime import timedelta
from decimal import Decimal
from textwrap import indent
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from orchestrator import Budget, Receipt, RunContext, ToolContext
from orchestrator.extracting import code_block
from orchestrator.judging import Case, Verdict, judged_by
from orchestrator.strategies import Revise
from orchestrator_tools import run_python
from orchestrator_workflows.shipped import app
from orchestrator_workflows.strategy import GivenStrategy

__all__ = ["Candidate", "Code", "Specification", "code", "run_tests"]

INSTRUCTIONS = """You write Python. Reply with one block of code between ``` fences, and nothing else.
It may import nothing but math, re, json, itertools, functools and collections, and define no class with a base."""
FAILURES_TOLD = 3
"""To the model, so that it can see what they have in common."""
_OPEN_FENCE = re.compile(r"```(?:\w+)?\n(.*)", re.DOTALL)


def _name(name: str) -> str:
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ValueError(f"no function can be called {name!r}")
    return name


def _statements(test: str) -> str:
    try:
        ast.parse(test)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"it is no Python ({error})") from error
    return test.strip()


Test = Annotated[str, Field(min_length=1, max_length=4000), AfterValidator(_statements)]
"""Statements that raise where the function is wrong: `"assert double(2) == 4"`."""


class Specification(BaseModel):
    """What function to write, and how to tell that it is right."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=80), AfterValidator(_name)]
    """Of the function."""
    does: Annotated[str, Field(min_length=1, max_length=8000)]
    """In words, its parameters included."""
    tests: Annotated[tuple[Test, ...], Field(min_length=1, max_length=100)]
    shown: Annotated[int, Field(ge=0)] = 2
    """Tests that the model sees beforehand."""
    strategy: GivenStrategy = Revise()
    max_tokens: Annotated[int, Field(ge=1, le=32_768)] = 600
    temperature: Annotated[float, Field(gt=0, le=2)] = 0.7


class Candidate(BaseModel):
    """A program, and the tests that it must pass."""

    code: Annotated[str, Field(max_length=100_000)]
    tests: tuple[str, ...]


class Code(BaseModel):
    """A program, whether it passes its tests, and what it took."""

    code: str
    passed: bool
    score: float
    """The share of the tests that it passes."""
    problem: str
    """What the tests say that is wrong with it; empty if it passed."""
    attempts: int
    strategy: str
    receipt: Receipt


@app.tool(effect="read", timeout=timedelta(seconds=60))
async def run_tests(ctx: ToolContext, candidate: Candidate) -> Verdict:
    """Run a program's tests in the sandbox. Its score is the share of the tests that it passes."""
    result = await run_python(_program(candidate))
    if result.error is not None:
        where = "".join(f"\n  {line}" for line in result.error.where)
        return Verdict(score=0.0, passed=False, feedback=f"The program fails: {result.error}{where}")
    try:
        failed: list[tuple[int, str]] = json.loads(ast.literal_eval(result.value or ""))
    except (ValueError, SyntaxError):
        return Verdict(score=0.0, passed=False, feedback="The program's tests came to no end.")
    told = "".join(f"\n{candidate.tests[number]}\n  {problem}" for number, problem in failed[:FAILURES_TOLD])
    count = len(candidate.tests)
    return Verdict(
        score=(count - len(failed)) / count,
        passed=not failed,
        feedback=f"{len(failed)} of {count} tests fail:{told}" if failed else "",
    )


@app.workflow(budget=Budget(usd=Decimal("0.50"), tokens=1_000_000, on_exhausted="finish"))
async def code(ctx: RunContext, wanted: Specification) -> Code:
    """Write a Python function, run its tests in the sandbox, and revise it by what fails."""
    tests = _Tests()
    thought = await ctx.think(
        _task(wanted),
        strategy=wanted.strategy,
        output=Candidate,
        extract=lambda text: _candidate(text, wanted),
        judge=tests,
        transcript=ctx.transcript(system=INSTRUCTIONS),
        max_tokens=wanted.max_tokens,
        temperature=wanted.temperature,
    )
    verdict = tests.said.get(thought.value.code) or await ctx.call(run_tests, thought.value)
    ctx.judge(bool(verdict.passed))
    return Code(
        code=thought.value.code,
        passed=bool(verdict.passed),
        score=verdict.score,
        problem=verdict.feedback,
        attempts=len(thought.trials),
        strategy=thought.strategy,
        receipt=ctx.receipt,
    )


class _Tests(judged_by):
    """Judges by the tests, and remembers what they said of each program."""

    def __init__(self) -> None:
        super().__init__(run_tests)
        self.said: dict[str, Verdict] = {}

    async def judge(self, case: Case[Any]) -> Verdict:
        said = self.said[case.value.code] = await super().judge(case)
        return said


def _task(wanted: Specification) -> str:
    tests = "\n".join(wanted.tests[: wanted.shown])
    return f"Write the Python function {wanted.name}.\n{wanted.does}" + (f"\nIt must pass:\n{tests}" if tests else "")


def _candidate(text: str, wanted: Specification) -> Candidate | None:
    """The program in a reply: its last block, closed or not, else what begins with the function itself."""
    found = code_block(text)
    if found is None and (unclosed := _OPEN_FENCE.search(text)):
        found = unclosed[1].strip()
    if found is None and (begin := text.find(f"def {wanted.name}(")) >= 0:
        found = text[begin:].strip()
    return Candidate(code=found, tests=wanted.tests) if found and wanted.name in found else None


def _program(candidate: Candidate) -> str:
    """The program with its tests, each of which may fail by itself; its value is what failed, as JSON.

    Written anew, a test's texts stand on one line, so that indenting it doesn't change them.
    """
    tests = [
        f"try:\n{indent(ast.unparse(ast.parse(test)), '    ')}\nexcept Exception as _error:\n"
        f"    _failed.append(({number}, type(_error).__name__ + ': ' + str(_error)))\n"
        for number, test in enumerate(candidate.tests)
    ]
    return f"{candidate.code}\n\nimport json as _json\n_failed = []\n{''.join(tests)}\n_json.dumps(_failed)\n"
