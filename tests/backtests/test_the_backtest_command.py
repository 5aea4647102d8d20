"""As CI runs it: beside a stack that is up, by its exit code and its JSON."""

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import anyio
import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import cli
from orchestrator.errors import ConfigurationError, InvalidInput, NoHistory, UnknownName
from orchestrator.session import RunningStack
from orchestrator.settings import Settings
from orchestrator.testing import Say, scripted_engine
from tests.backtests.shop import Shop, shop

Run = Callable[..., Awaitable[Result]]
ANSWER = "tests.backtests.program:answer"


def starts_blue(question: str, result: str) -> bool:
    """A check that a command names."""
    return result.startswith("blue")


@pytest.fixture
async def here(temporal_address: str, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    """A stack with two runs of `answer`, found by commands on the test's folder."""
    async with scripted_engine(lambda _: Say("blue")) as engine, shop(temporal_address, sqlite_url, engine) as made:
        await made.ran("answer", "One?", "Two?")
        stack = RunningStack(
            pid=os.getpid(), temporal_address=temporal_address, temporal_ui=None, engine_urls=(engine.url,),
            api_url=None, apps=("shop",),
        )  # fmt: skip
        with stack.noted(Settings(state=tmp_path)):
            yield made


@pytest.fixture
def run(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command while the workers go on."""
    monkeypatch.setenv("ORCHESTRATOR_STATE", str(tmp_path))
    monkeypatch.setenv("ORCHESTRATOR_DATABASE__URL", sqlite_url)
    monkeypatch.setenv("COLUMNS", "300")

    async def command(*arguments: str) -> Result:
        return await anyio.to_thread.run_sync(lambda: CliRunner().invoke(cli, ["backtest", *arguments]))

    return command


@pytest.mark.usefixtures("here")
async def test_json_and_exit_codes(run: Run) -> None:
    fine = await run(ANSWER, "--json", "--fail-if", "accuracy<-2", "--fail-if", "failed>0")
    assert fine.exit_code == 0, fine.output
    assert fine.stdout.count("\n") == 1
    report = json.loads(fine.stdout)
    assert set(report) == {
        "workflow", "tenant", "variant", "accuracy_by", "differences", "method", "pairs", "skipped", "failed",
        "off_record", "off_record_calls", "unjudged", "check_problem", "strategies_used", "spent", "failed_by",
    }  # fmt: skip
    assert [made["metric"] for made in report["differences"]] == ["cost", "tokens", "time", "accuracy"]
    assert report["differences"][3]["variant"] == "100.00"
    assert (report["variant"]["version"], report["failed_by"], len(report["pairs"])) == ("1", [], 2)
    held = await run(ANSWER, "--json", "--fail-if", "pairs<3", "--limit", "1")
    assert held.exit_code == 1
    assert json.loads(held.stdout)["failed_by"] == ["pairs<3"]
    assert "fails: pairs<3" in held.stderr
    assert len(json.loads(held.stdout)["pairs"]) == 1


@pytest.mark.usefixtures("here")
async def test_a_person_reads_how_it_differs(run: Run) -> None:
    check = "tests.backtests.test_the_backtest_command:starts_blue"
    shown = (await run(ANSWER, "--check", check, "--with", "budget.tokens=500", "--with", "strategy=vote")).stdout
    for words in (
        "answer on record beside version 1",
        '"tokens":500',
        "2 pairs of runs",
        "accuracy",
        "Accuracy is by the given check. Intervals: paired percentile bootstrap of the mean, 95 %, 2,000 resamples",
        "So few pairs have no interval",
        "The strategy changed nothing: none of these runs thinks by one.",
        "The backtest itself cost $",
    ):
        assert words in shown, shown


@pytest.mark.usefixtures("here")
async def test_mistakes_are_explained_and_run_nothing(run: Run) -> None:
    for arguments, kind, words in (
        (["tests.backtests.program:anser"], UnknownName, "did you mean 'answer'?"),
        (["tests.backtests.program:advise"], UnknownName, "no workflow that was ever run is called 'advise'"),
        (
            [ANSWER, "--since", "2h", "--until", "1h"],
            NoHistory,
            "has 2 completed, and none of them is among those asked for",
        ),
        ([ANSWER, "--of-version", "2"], NoHistory, "none of them is among those"),
        ([ANSWER, "--with", "pol=x"], UnknownName, "did you mean 'pool'?"),
        ([ANSWER, "--fail-if", "cost"], InvalidInput, "is no condition"),
        ([ANSWER, "--check", "tests.backtests.program:is_blu"], UnknownName, "did you mean 'is_blue'?"),
        ([ANSWER, "--check", "no.such:module"], ConfigurationError, "no.such can't be imported"),
    ):
        ended = await run(*arguments)
        assert isinstance(ended.exception, kind), ended
        assert words in str(ended.exception)
        assert ended.stdout == ""
    assert (await run("answer")).exit_code == 2
