"""Each error composes its own message, and the tree in the docstring is the tree that there is."""

import re
from typing import Any

import pytest

from orchestrator import errors
from orchestrator.errors import DefinitionError, OrchestratorError, UnknownName, did_you_mean
from tests.definitions.errors_of_every_kind import ERRORS

CLASSES: dict[str, type[OrchestratorError]] = {
    name: each
    for name in errors.__all__
    if isinstance(each := getattr(errors, name), type) and issubclass(each, OrchestratorError)
}

WORDS = {
    "BudgetExceeded": ("$0.10", "usd", "$0.09", "$0.02", "raise it, or lower max_tokens"),
    "InvalidPeriod": ("--since", "'soon' is no date"),
    "PricesRefused": ("the price of m", "input is negative", "Nothing was written"),
    "QuestionClosed": ("'1a2b'", "was answered already: the first answer counts"),
    "RunHasEnded": ("run-1", "completed", "larger budget"),
    "ConfigurationError": ("port 1 is taken. Free it.",),
    "DamagedLedger": ("'think-1'", "'gratis' is not a valid Outcome", "compare the database with a backup"),
    "DefinitionError": ("tool 'x': it is wrong. Make it right.",),
    "EngineMisreported": ("http://e", "cached tokens (3) exceed prompt tokens (2)", "an SGLang of a supported version"),
    "EngineOverloaded": ("http://e", "429", "full"),
    "EngineRejected": ("http://e", "400", "no such field"),
    "EngineUnavailable": ("http://e", "refused", "'orchestrator doctor'"),
    "HumanTimedOut": ("'Which account?'", "within 60 s", "'orchestrator questions'", "a longer timeout or a default"),
    "IdempotencyConflict": ("'k'", "run-1", "send a new key, or the same request"),
    "InvalidAnswer": ("'1a2b'", "Input should be 'a' or 'b'", "The question stays open"),
    "InvalidInput": ("workflow 'x'", "value: no number"),
    "ModelMismatch": ("http://e", "'a'", "'b'", "ORCHESTRATOR_ENGINE__MODEL=a", "ORCHESTRATOR_ENGINE__URLS"),
    "NoHistory": ("'think'", "ended 2 times", "Let a run complete"),
    "NoReceiptYet": ("'think-1'", "ask for its receipt once it has"),
    "OffRecord": ("'search'", "think-1", "nothing on its record"),
    "OutputInvalid": ("3 attempts", "Fact", "value: Field required", "'{}'", "Simplify Fact, raise max_tokens"),
    "JudgeFailed": ("judge 'is_even'", "TypeError: no number", "Make it return a bool, a score or a Verdict"),
    "NoAnswer": ("vote", "3 drafts", "it wrote no number", "Allow more drafts"),
    "OutputNotSerializable": ("tool 'x'", "object", "return a pydantic model or plain JSON values"),
    "OutputTooLarge": ("workflow 'x'", "3,000,000", "1,900,000", "return a reference"),
    "ToolFailed": ("tool 'x'", "OSError: no disk"),
    "ToolRefused": ("refused by a person: too much", "'x' wasn't called", "go on without it"),
    "ToolReportedFailure": ("tool 'x'", "there is no such ticket"),
    "ToolServerFailed": ("'tickets' (python server.py)", "it can't be started", "no disk"),
    "ToolServerUnusable": ("server 'tickets'", "it has no tool 'creat'", "Correct MCPServer(include=...)."),
    "ToolResultTooLarge": ("tool 'x'", "70,000", "65,536", "ask for less, or return a page or an id"),
    "ToolLost": ("tool 'x'", "said nothing for 4 s", "hand it to a thread"),
    "ToolTimedOut": ("tool 'x'", "within 1.5 s", "raise @app.tool(timeout=...)"),
    "UnknownName": ("no tool is called 'calculater'", "did you mean 'calculator'?"),
}
GROUPS = {"OrchestratorError", "RequestError", "RunError", "EngineError"}
"""Raised only as one of their kinds."""


def test_there_is_a_sample_of_every_kind() -> None:
    assert {type(error).__name__ for error in ERRORS} == set(WORDS) == set(CLASSES) - GROUPS


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_the_message_has_the_values_and_the_remedy(error: OrchestratorError) -> None:
    assert [word for word in WORDS[type(error).__name__] if word not in str(error)] == []


def test_titles_are_short_and_tell_the_kinds_apart() -> None:
    titles = {type(error).__name__: error.title for error in ERRORS}
    assert titles["BudgetExceeded"] == "Budget exceeded"
    assert titles["ToolResultTooLarge"] == "Tool result too large"
    assert len(set(titles.values())) == len(titles)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_status_exit_code_and_retryable_are_set(error: OrchestratorError) -> None:
    assert 400 <= error.status < 600
    assert 1 <= error.exit_code <= 3
    assert isinstance(error.retryable, bool)  # pyright: ignore[reportUnnecessaryIsInstance]


def test_who_must_act_decides_the_exit_code() -> None:
    codes = {type(error).__name__: error.exit_code for error in ERRORS}
    assert {name for name, code in codes.items() if code == 3} == {
        name for name in codes if issubclass(CLASSES[name], errors.RunError)
    }
    retryable = {type(error).__name__ for error in ERRORS if error.retryable}
    engines, tools = {"EngineOverloaded", "EngineUnavailable"}, {"ToolFailed", "ToolLost", "ToolTimedOut"}
    assert retryable == engines | tools | {"ToolServerFailed"}


def test_the_tree_in_the_docstring_is_the_tree_that_there_is() -> None:
    drawn: dict[str, str | None] = {}
    path: list[str] = []
    block = re.search(r"```text\n(.*?)```", errors.__doc__ or "", re.DOTALL)
    assert block is not None
    for line in block[1].splitlines():
        name = re.search(r"[A-Z]\w+", line)
        assert name is not None
        depth = name.start() // 4
        path[depth:] = [name[0]]
        drawn[name[0]] = path[depth - 1] if depth else None
    there = {name: each.__base__.__name__ if each.__base__ else None for name, each in CLASSES.items()}
    there["OrchestratorError"] = None
    assert drawn == there
    defined = {
        name
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, Exception) and each.__module__ == errors.__name__
    }
    assert defined == set(drawn)


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (["calculator", "search"], "did you mean 'calculator'?"),
        (["search", "ask"], "there is 'ask', 'search'"),
        ([], "there is none yet"),
    ],
)
def test_names_that_are_not_there_get_a_hint(known: list[str], words: str) -> None:
    assert did_you_mean("calculater", known) == words
    assert str(UnknownName("tool", "calculater", known)) == f"no tool is called 'calculater': {words}"


def test_parts_are_given_by_name() -> None:
    make: Any = DefinitionError
    with pytest.raises(TypeError):
        make("tool 'x'", "it is wrong", "Make it right.")
