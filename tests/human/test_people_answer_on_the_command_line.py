"""`orchestrator questions`, `orchestrator reply` and `orchestrator run --grant`."""

import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from anyio import to_thread
from click.testing import CliRunner, Result
from rich.console import Console

from orchestrator.cli.main import cli
from orchestrator.cli.render import follow
from orchestrator.errors import InvalidAnswer, InvalidInput, QuestionClosed, UnknownName
from orchestrator.questions import ANSWER_HUMAN, Answer
from tests.bench import Bench
from tests.eventually import eventually
from tests.human.people import answer, asked
from tests.human.test_the_model_asks_before_it_writes import DONE, REFUND, wish

Command = Callable[..., Any]


@pytest.fixture
def called(
    here: Bench, temporal_address: str, database_address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> Command:
    """Runs a command in a thread, with an event loop of its own."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_address)
    monkeypatch.setenv("ORCHESTRATOR_DATABASE__URL", database_address)
    monkeypatch.setenv("ORCHESTRATOR_STATE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")

    async def call(*arguments: str) -> Result:
        return await to_thread.run_sync(lambda: CliRunner().invoke(cli, arguments))

    return call


async def test_the_only_question_needs_no_name(here: Bench, called: Command) -> None:
    run_id = await here.start("choose", ["a", "b"])
    (question,) = await asked(here, run_id)
    shown = (await called("questions", run_id)).output
    assert all(part in shown for part in (run_id, question.id, "billing", "Which account?", "a, b"))
    (printed,) = json.loads((await called("questions", run_id, "--json")).output)
    assert (printed["id"], printed["run_id"], printed["choices"]) == (question.id, run_id, ["a", "b"])
    refused = await called("reply", run_id, "c")
    assert isinstance(refused.exception, InvalidAnswer)
    assert refused.exception.exit_code == 2
    given = await called("reply", run_id, "b", "--by", "Ada")
    assert (given.exit_code, given.output) == (0, f"answered question {question.id}\n")
    assert (await here.runs.wait(run_id)).result == "b"
    assert (await called("questions", run_id)).output == "Nothing is asked now.\n"
    nothing = await called("reply", run_id, "b")
    assert f"run {run_id} asks nothing now" in str(nothing.exception)


async def test_answers_are_text_or_json_as_the_question_wants(here: Bench, called: Command) -> None:
    run_id = await here.start("ask_all_kinds", "")
    name, sure, colour, account = [question.id for question in await asked(here, run_id, 4)]
    several = await called("reply", run_id, "yes")
    assert isinstance(several.exception, InvalidInput)
    assert f"asks several questions, name one: {name} (What is it called?), {sure}" in str(several.exception)
    assert (await called("reply", run_id, name, "42")).exit_code == 0
    again = await called("reply", run_id, name, "43")
    assert isinstance(again.exception, QuestionClosed)
    assert isinstance((await called("reply", run_id, "nothing", "x")).exception, UnknownName)
    assert isinstance((await called("reply", "nobody", "x")).exception, UnknownName)
    assert (await called("reply", run_id, sure, "true", "too many")).exit_code == 2
    assert isinstance((await called("reply", run_id, sure, "true", "--by", "")).exception, InvalidInput)
    for question, text in ((sure, "true"), (colour, "blue"), (account, '{"name": "savings", "number": 7}')):
        assert (await called("reply", run_id, question, text)).exit_code == 0
    assert (await here.runs.wait(run_id)).result == ["42", True, "blue", 7]


async def test_a_refusal_has_a_reason(here: Bench, called: Command) -> None:
    run_id = await here.start("serve", wish(REFUND))
    (question,) = await asked(here, run_id)
    shown = (await called("questions", run_id)).output
    assert all(part in shown for part in ("May refund be called?", '"dollars": 5', "yes, no, always"))
    assert (await called("reply", run_id, question.id, "no", "--reason", "too much")).exit_code == 0
    assert str((await here.runs.wait(run_id)).result).startswith("error: refused by a person: too much.")
    second = await here.start("serve", wish(REFUND))
    await asked(here, second)
    assert (await called("reply", second, "always")).exit_code == 0
    assert (await here.runs.wait(second)).result == DONE


async def test_open_questions_of_all_runs_are_listed(here: Bench, called: Command) -> None:
    run_id = await here.start("choose", ["x"])
    await asked(here, run_id)

    async def listed() -> bool:
        printed = json.loads((await called("questions", "--json", "--limit", "1000", "--to", "billing")).output)
        return run_id in {question["run_id"] for question in printed}

    await eventually(listed)
    assert run_id in (await called("questions", "--limit", "1000")).output
    assert (await called("questions", "--tenant", "nobody")).output == "Nothing is asked now.\n"


async def test_who_follows_a_run_sees_what_it_asks_and_how_to_answer(here: Bench) -> None:
    run_id = await here.start("race", "")
    first, second = await asked(here, run_id, 2)
    handle = here.client.get_workflow_handle(run_id)
    await handle.signal(ANSWER_HUMAN, Answer(question=first.id, answer=5))
    await answer(here, run_id, first.id, "me", by="[Ada]")
    (last,) = await asked(here, run_id)
    await answer(here, run_id, last.id, "no")
    console = Console(file=StringIO(), width=200)
    await follow(run_id, here.runs.events(run_id), console)
    assert isinstance(console.file, StringIO)
    lines = console.file.getvalue().splitlines()
    assert lines == [
        "? Question 0?",
        f"  answer with: orchestrator reply {run_id} {first.id} ...",
        "? Question 1?",
        f"  answer with: orchestrator reply {run_id} {second.id} ...",
        "✘ Question 0?",
        "  an answer didn't fit: value: Input should be a valid string",
        "✔ answered by [Ada]: me",
        f"✘ not asked any more: question {second.id}",
        "? Anything else?",
        f"  answer with: orchestrator reply {run_id} {last.id} ...",
        "✔ answered: no",
    ]


async def test_a_grant_of_what_is_not_there_starts_nothing(called: Command) -> None:
    refused = await called("run", "tests.human.program:app:serve", "--input", '"x"', "--grant", "refnd")
    assert isinstance(refused.exception, UnknownName)
    assert "did you mean 'refund'?" in str(refused.exception)
