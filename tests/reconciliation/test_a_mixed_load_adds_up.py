"""Thirty calls through the orchestrator, of which some are cut off, refused, retried, forked and cancelled: no drift.

On the scripted engine and on the real one.
"""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from orchestrator.database import Database
from orchestrator.engine import SGLang
from orchestrator.engine.facts import EngineFacts
from orchestrator.ledger import Attempt, Bound, Kind, Ledger, Sweeper
from orchestrator.local import RunningEngine
from orchestrator.reconciliation import Reconciliation, Sampler, reconcile
from orchestrator.steps import RunScope, RunStatus
from orchestrator.testing import Break, Fail, Reply, Say, ScriptedRequest, scripted_engine
from tests.bench import Bench, bench
from tests.eventually import eventually
from tests.programs import programs
from tests.reconciliation.cutting_proxy import cutting
from tests.testing.test_records_match_sglang import CLIENT

CALLS = 30


@dataclass(kw_only=True)
class Check:
    """Holds the ledger of a bench against its engine."""

    database: Database
    url: str
    facts: EngineFacts
    http: httpx.AsyncClient

    @classmethod
    @asynccontextmanager
    async def of(cls, database: Database, url: str, facts: Path) -> "AsyncGenerator[Check]":
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            check = cls(database=database, url=url, facts=EngineFacts(facts), http=http)
            await check.sample()
            yield check

    async def sample(self) -> None:
        await Sampler(self.database, self.http, server=self.url, pool="default").sample()

    async def running(self) -> int:
        loads = (await self.http.get(f"{self.url}/v1/loads")).json()["loads"]
        return sum(load["num_running_reqs"] for load in loads)

    async def swept(self) -> list[Reconciliation]:
        """The comparison, once the engine has ended all, and its records have taken the place of estimates."""

        async def over(attempt: Attempt) -> bool:
            return True

        sweeper = Sweeper(self.database, is_over=over, facts=self.facts)

        async def settled() -> bool:
            if await self.running():
                return False
            await sweeper.sweep(young=timedelta(0))
            await self.sample()
            found = await reconcile(self.database, server=self.url)
            return not any(each.estimated or each.open for each in found)

        await eventually(settled)
        return await reconcile(self.database, server=self.url)


def script(request: ScriptedRequest) -> Reply:
    said = request.last_message
    if said == "Be refused once." and request.attempt == 1:
        return Fail(status=503)
    if said == "Break off once." and request.attempt == 1:
        return Break(after_tokens=9)
    if said == "Be cancelled.":
        return Say("word " * 100, hold_after_tokens=11)
    return Say(f"This is what I reply to {said}")


async def _cancelled(here: Bench, check: Check, count: int) -> list[RunStatus]:
    """Runs that are cancelled while the engine, which has nothing else to do, answers all of them."""
    begun = [await here.start("think", "Be cancelled.") for _ in range(count)]

    async def answering() -> bool:
        return await check.running() == count

    await eventually(answering)
    for run_id in begun:
        await here.runs.cancel(run_id)
    return [(await here.runs.wait(run_id)).status for run_id in begun]


async def test_on_the_scripted_engine(temporal_address: str, database_url: str, tmp_path: Path) -> None:
    async with (
        scripted_engine(script, facts=tmp_path / "facts") as engine,
        bench([programs.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
        Check.of(here.database, engine.url, tmp_path / "facts") as check,
    ):
        started = [await here.start("converse", {"steps": 4, "max_tokens": 8}) for _ in range(3)]
        started += [await here.start("branches", 4) for _ in range(2)]
        await check.sample()  # with calls in flight
        started += [await here.start("think", words) for words in ("Be refused once.", "Break off once.")]
        started += [await here.start("think", f"Say {number}.") for number in range(2)]
        runs = [await here.runs.wait(run_id) for run_id in started]
        assert {run.status for run in runs} == {RunStatus.COMPLETED}
        assert await _cancelled(here, check, 2) == [RunStatus.CANCELLED] * 2

        (stretch,) = await check.swept()
        served = engine.served
        assert len(engine.requests) == CALLS
        assert {record.finish for record in engine.requests} == {"stop", "length", "error", "broken", "abort"}
        assert (stretch.drift, stretch.final, stretch.estimated) == (0, True, 0)
        assert stretch.requests.ledger == stretch.requests.engine == served.requests == CALLS - 1
        ledger = tuple(quantity.ledger for quantity in stretch.tokens)
        assert ledger == (served.prompt_tokens, served.cached_tokens, served.output_tokens)


@pytest.mark.engine
async def test_on_the_real_engine(temporal_address: str, sqlite_url: str, sglang: RunningEngine) -> None:
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(cutting(sglang.url, calls=(3, 11)))
        here = await stack.enter_async_context(
            bench([programs.app], temporal=temporal_address, database_url=sqlite_url, engine=url)
        )
        check = await stack.enter_async_context(Check.of(here.database, url, sglang.facts))
        started = [await here.start("converse", {"steps": 5, "max_tokens": 8}) for _ in range(3)]
        started += [await here.start("branches", 4) for _ in range(2)]
        await check.sample()  # with calls in flight
        runs = [await here.runs.wait(run_id) for run_id in started]
        assert {run.status for run in runs} == {RunStatus.COMPLETED}
        assert await _cancelled(here, check, 3) == [RunStatus.CANCELLED] * 3

        (stretch,) = await check.swept()
        assert len([row for row in await here.charges() if row.entry == 0]) == CALLS
        assert len([row for row in await here.charges() if row.entry == 0 and row.outcome == "retried"]) == 2
        assert (stretch.drift, stretch.final, stretch.estimated) == (0, True, 0)
        assert stretch.requests.ledger == stretch.requests.engine == CALLS
        assert stretch.output.coverage == stretch.prompt.coverage == 1


async def test_a_call_past_the_orchestrator_is_less_than_full_coverage(
    temporal_address: str, sqlite_url: str, tmp_path: Path
) -> None:
    async with (
        scripted_engine(script, facts=tmp_path / "facts") as engine,
        bench([programs.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
        Check.of(here.database, engine.url, tmp_path / "facts") as check,
    ):
        await here.run("think", "Say it.")
        await check.sample()
        body = {"input_ids": [*range(40)], "sampling_params": {"max_new_tokens": 5}}
        (await check.http.post(f"{engine.url}/generate", json=body)).raise_for_status()
        before, after = await check.swept()
    assert (before.drift, before.prompt.coverage) == (0, 1)
    assert [quantity.drift for quantity in after.tokens] == [-40, None, -5]
    assert (after.prompt.coverage, after.output.coverage) == (0, 0)


async def test_a_killed_workers_call_on_the_scripted_engine(database: Database, tmp_path: Path) -> None:
    long = Say("word " * 200, tokens_per_second=100)
    async with scripted_engine([long], facts=tmp_path / "facts") as engine:
        await _a_killed_workers_call_adds_up(database, engine.url, tmp_path / "facts")


@pytest.mark.engine
async def test_a_killed_workers_call_on_the_real_engine(database: Database, sglang: RunningEngine) -> None:
    await _a_killed_workers_call_adds_up(database, sglang.url, sglang.facts)


async def _a_killed_workers_call_adds_up(database: Database, url: str, facts: Path) -> None:
    async with Check.of(database, url, facts) as check, SGLang.open(url) as engine:
        ids = await engine.render([{"role": "user", "content": "Count to a hundred."}], open_reply=True)
        rid, ledger = uuid4().hex, Ledger(database)
        run = uuid4().hex
        scope = RunScope(
            tenant="default", workflow="think", run=run, workflow_id="w", started_at=datetime.now(UTC), budget=None
        )
        what = Kind(kind="generate", name="m", pool="default", server=url, rid=rid, sent_tokens=len(ids))
        attempt = Attempt(workflow_id="w", run_id=run, activity_id="1", attempt=1)
        await ledger.reserve(attempt, scope, what, bound=Bound(tokens=400))
        await _killed_in_mid_answer(url, rid, ids)

        (stretch,) = await check.swept()
        assert (stretch.drift, stretch.final, stretch.estimated) == (0, True, 0)
        assert stretch.prompt.ledger == len(ids)
        assert stretch.output.ledger >= 3


async def _killed_in_mid_answer(url: str, rid: str, ids: list[int]) -> None:
    params = {"max_new_tokens": 300, "ignore_eos": True}
    body = json.dumps({"rid": rid, "input_ids": ids, "stream": True, "sampling_params": params})
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLIENT, url, body, stdout=asyncio.subprocess.PIPE
    )
    assert worker.stdout is not None
    while int(await worker.stdout.readline()) < 3:
        continue
    worker.kill()
    await worker.communicate()
