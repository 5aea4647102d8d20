"""People answer while no worker runs: nothing is lost, and what doesn't fit is still refused."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from orchestrator.api import create_api, serving
from orchestrator.errors import RunHasEnded, UnknownName
from orchestrator.inbox import Inbox
from orchestrator.local import TemporalServer
from orchestrator.questions import ANSWER_HUMAN, Answer
from orchestrator.runs import Runs
from orchestrator.steps import RunStatus
from tests.bench import Bench, bench
from tests.eventually import eventually
from tests.human.people import answer, asked, events_of
from tests.human.program import app

ROOT = Path(__file__).parents[2]
SOON = timedelta(milliseconds=200)


@pytest.fixture(scope="module")
async def lonely_temporal(tmp_path_factory: pytest.TempPathFactory, anyio_backend: str) -> AsyncIterator[str]:
    """A Temporal server without other workers than a test's own."""
    log = tmp_path_factory.mktemp("temporal") / "temporal.log"
    async with TemporalServer(log=log, db_file=None, ui=False).start() as running:
        yield running.address


class _Impatient(Runs):
    """Runs that wait for a worker only for a moment."""

    @property
    def inbox(self) -> Inbox:
        return Inbox(self._client, self._describe, patience=SOON)


def _impatient(here: Bench) -> _Impatient:
    return _Impatient(here.client, here.database, [app])


async def test_a_signal_is_kept_for_the_next_worker(lonely_temporal: str, sqlite_url: str) -> None:
    async with bench([app], temporal=lonely_temporal, database_url=sqlite_url, engine=None) as here:
        run_id = await here.start("choose", ["a", "b"])
        await asked(here, run_id)
        here.started.clear()
    async with bench([app], temporal=lonely_temporal, database_url=sqlite_url, engine=None, workers=False) as here:
        (question,) = await asked(here, run_id)  # it can be read without a worker
        handle = here.client.get_workflow_handle(run_id)
        for choice in ("c", "b", "a"):  # the first that fits counts
            await handle.signal(ANSWER_HUMAN, Answer(question=question.id, answer=choice))
    async with bench([app], temporal=lonely_temporal, database_url=sqlite_url, engine=None) as here:
        run = await here.runs.wait(run_id)
    assert (run.status, run.result) == (RunStatus.COMPLETED, "b")


async def test_an_answer_that_no_worker_takes_is_left(lonely_temporal: str, sqlite_url: str) -> None:
    async with bench([app], temporal=lonely_temporal, database_url=sqlite_url, engine=None) as here:
        run_id = await here.start("choose", ["a", "b"])
        long = await here.start("ask_long", 5_000)
        await asked(here, run_id)
        await asked(here, long)
        here.started.clear()
    async with bench([app], temporal=lonely_temporal, database_url=sqlite_url, engine=None, workers=False) as here:
        inbox = _impatient(here).inbox
        (question,) = await inbox.of_run(run_id)
        async with (
            serving(create_api(_impatient(here), settings=here.settings), "127.0.0.1", 0) as url,
            httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as http,
        ):
            left = await http.post(f"/v1/runs/{run_id}/questions/{question.id}", json={"answer": "a"})
        assert (left.status_code, left.json()["taken"]) == (202, False)
        with pytest.raises(UnknownName, match="no question is called 'nothing'"):
            await inbox.answer(run_id, Answer(question="nothing", answer="a"))
        (cut,) = await inbox.of_run(long)
        assert cut.is_cut
    async with bench([app], temporal=lonely_temporal, database_url=sqlite_url, engine=None) as here:
        assert (await here.runs.wait(run_id)).result == "a"
        (whole,) = await asked(here, long)
        assert (whole.text, whole.is_cut) == ("x" * 5_000, False)
        with pytest.raises(RunHasEnded):
            await answer(here, run_id, question.id, "b")
        await answer(here, long, whole.id, "done")


async def test_a_signal_that_does_not_fit_leaves_the_question_open_and_says_so(here: Bench) -> None:
    run_id = await here.start("choose", ["a", "b"])
    (question,) = await asked(here, run_id)
    handle = here.client.get_workflow_handle(run_id)
    for nonsense in (
        {"question": question.id},
        {"question": question.id, "answer": "a", "more": 1},
        {"question": "nothing", "answer": "a"},
        "a",
        {"question": question.id, "answer": "c"},
    ):
        await handle.signal(ANSWER_HUMAN, nonsense)

    async def says_so() -> bool:
        (still,) = await here.runs.inbox.of_run(run_id)
        return still.refused == 'it is none of "a", "b"'

    await eventually(says_so)
    assert await answer(here, run_id, question.id, "a")
    assert (await here.runs.wait(run_id)).result == "a"
    assert [(event.type, event.error) for event in await events_of(here, run_id)] == [
        ("question.asked", None),
        ("question.refused", 'it is none of "a", "b"'),
        ("question.answered", None),
    ]


async def test_of_two_signals_the_first_counts(here: Bench) -> None:
    run_id = await here.start("ask_all_kinds", "")
    name, sure, colour, account = await asked(here, run_id, 4)
    handle = here.client.get_workflow_handle(run_id)
    for text in ("first", "second"):
        await handle.signal(ANSWER_HUMAN, Answer(question=name.id, answer=text))
    await handle.signal(ANSWER_HUMAN, Answer(question=sure.id, answer=True))
    await handle.signal(ANSWER_HUMAN, Answer(question=colour.id, answer="red"))
    await handle.signal(ANSWER_HUMAN, Answer(question=account.id, answer={"name": "savings", "number": 7}))
    assert (await here.runs.wait(run_id)).result == ["first", True, "red", 7]


@contextmanager
def _worker_process(temporal: str, database_url: str) -> Generator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "TEMPORAL_ADDRESS": temporal, "ORCHESTRATOR_DATABASE__URL": database_url}
    command = [sys.executable, "-m", "orchestrator", "worker", "tests.human.program:app", "--role", "workflows"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_the_worker_is_killed_while_the_run_waits(lonely_temporal: str, sqlite_url: str) -> None:
    async with bench([app], temporal=lonely_temporal, database_url=sqlite_url, engine=None, workers=False) as here:
        run_id = await here.start("ask_all_kinds", "")
        with _worker_process(lonely_temporal, sqlite_url) as worker:
            name, sure, colour, account = await asked(here, run_id, 4)
            assert await answer(here, run_id, name.id, "before")
            worker.kill()
            worker.wait()
        inbox = _impatient(here).inbox
        assert not await inbox.answer(run_id, Answer(question=sure.id, answer=True))
        assert not await inbox.answer(run_id, Answer(question=colour.id, answer="green"))  # nobody can know that yet
        here.started.clear()
    async with bench([app], temporal=lonely_temporal, database_url=sqlite_url, engine=None) as here:
        assert [question.id for question in await asked(here, run_id, 2)] == [colour.id, account.id]
        assert await answer(here, run_id, colour.id, "red")
        assert await answer(here, run_id, account.id, {"name": "savings", "number": 7})
        assert (await here.runs.wait(run_id)).result == ["before", True, "red", 7]
