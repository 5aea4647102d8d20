"""Runs that race, engines that refuse and break off, workers killed at random: the ledger has what the engine computed.

The engine is scripted and keeps the ground truth; Temporal, PostgreSQL and the workers are real.
"""

import os
import random
import signal
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from orchestrator.engine import facts
from orchestrator.engine.facts import EngineFacts
from orchestrator.ledger import Attempt, Bound, Ledger, PriceBook, Reservation, Settlement, Sweeper, verify
from orchestrator.ledger.rows import TOLD, row_price
from orchestrator.steps import RunScope, RunStatus
from orchestrator.sweeping import Liveness
from orchestrator.testing import Chaos, ScriptedEngine, scripted_engine
from orchestrator.usage import Outcome, Usage
from tests.bench import Bench, bench
from tests.programs import programs
from tests.workers import worker_process

RUNS = 200
WORKERS = 2
SEED = 20


class _Workers:
    """Worker processes, one of which is killed now and then, and replaced."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self._arguments, self._more = arguments, more
        self._held = [self._start() for _ in range(WORKERS)]
        self.killed = 0

    def _start(self) -> tuple[ExitStack, int]:
        held = ExitStack()
        return held, held.enter_context(worker_process(*self._arguments, **self._more)).pid

    def kill(self, number: int) -> None:
        held, pid = self._held[number]
        os.kill(pid, signal.SIGKILL)
        held.close()
        self._held[number] = self._start()
        self.killed += 1

    def close(self) -> None:
        for held, _ in self._held:
            held.close()


async def _play(here: Bench, workers: _Workers) -> Sequence[RunStatus]:
    dice = random.Random(SEED)
    ended: list[RunStatus] = []

    async def wait(run_id: str) -> None:
        run = await here.runs.wait(run_id)
        ended.append(run.status)

    async with anyio.create_task_group() as group:
        for number in range(RUNS):
            group.start_soon(wait, await here.start("gamble", number))
        while len(ended) < RUNS * 0.9:  # the rest ends with workers that live
            await anyio.sleep(dice.uniform(4, 8))
            workers.kill(dice.randrange(WORKERS))
    return ended


async def _sweep(here: Bench, engine: ScriptedEngine, folder: Path) -> None:
    """Until nothing is left to sweep."""
    records = EngineFacts(folder)
    sweeper = Sweeper(here.database, is_over=Liveness(here.client).is_over, facts=records)
    await sweeper.sweep(young=timedelta(0))
    async with httpx.AsyncClient() as http:
        await http.get(f"{engine.url}/health")  # what the engine says after a time says that it recorded all of it
    swept = await sweeper.sweep(young=timedelta(0))
    assert (swept.estimated, swept.left) == (0, 0)


async def _settle_again(here: Bench, rows: Sequence[Any]) -> None:
    ledger = Ledger(here.database)
    for row in rows:
        scope = RunScope(
            tenant=row.tenant, workflow="gamble", run=row.run, workflow_id=row.workflow_id, started_at=row.reserved_at
        )
        again = Reservation(attempt=Attempt.of(row), scope=scope, bound=Bound(), price=row_price(row))
        async with here.database.begin() as connection:
            settlement = Settlement(outcome=Outcome.USED, usage=Usage(prompt=10**6, output=10**6))
            await ledger.settle(connection, again, settlement)


@pytest.mark.timeout(600)
async def test_two_hundred_runs(
    temporal_address: str, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "SETTLING", timedelta(0))
    folder, log = tmp_path / "facts", tmp_path / "worker.log"
    script = Chaos(seed=SEED, fail=0.15, break_off=0.1, tokens_per_second=60)
    async with (
        scripted_engine(script, facts=folder) as engine,
        bench([programs.app], temporal=temporal_address, database_url=postgres_url, engine=None, workers=False) as here,
    ):
        workers = _Workers(temporal_address, postgres_url, engine.url, log, facts=folder)
        try:
            ended = await _play(here, workers)
        finally:
            workers.close()
        await engine.wait_until_idle()
        await _sweep(here, engine, folder)
        assert ended == [RunStatus.COMPLETED] * RUNS
        assert workers.killed >= 3

        rows = await here.charges()
        told = {Attempt.of(row) for row in rows if row.reason in TOLD}
        guessed = [row for row in rows if row.entry == 0 and row.estimated and Attempt.of(row) not in told]
        assert {row.kind for row in guessed} <= {"tool"}, "of a killed tool, nobody has the facts"
        await _settle_again(here, [row for row in rows if row.entry == 0 and row not in guessed])
        assert await here.charges() == rows, "settling again changes nothing"

        assert all(row.outcome is not None for row in rows), "no row is open"
        used = Counter((row.run_id, row.activity_id) for row in rows if row.outcome == "used" and row.entry == 0)
        assert set(used.values()) == {1}
        outcomes = Counter(row.outcome for row in rows if row.entry == 0)
        assert outcomes["retried"] > RUNS / 2
        assert outcomes["cancelled"] > RUNS / 10

        await _holds_the_ground_truth(here, engine, rows)

        accounts = await here.totals()
        assert sum(account.reserved_nano + account.reserved_tokens for account in accounts) == 0
        assert sum(account.spent_nano for account in accounts) == sum(row.cost_nano for row in rows)
        for account in accounts:
            async with here.database.snapshot() as connection:
                assert (await verify(connection, account.id)).ok


async def _holds_the_ground_truth(here: Bench, engine: ScriptedEngine, rows: Sequence[Any]) -> None:
    """Request by request, to the token and to the nano-dollar."""
    price = await PriceBook(here.database, here.settings.price).price(engine.model, "default")
    truth = {
        record.rid: (
            record.prompt_tokens,
            record.cached_tokens,
            record.output_tokens,
            price.cost(Usage(prompt=record.prompt_tokens, cached=record.cached_tokens, output=record.output_tokens)),
        )
        for record in engine.requests
    }
    ledger: dict[str, tuple[int, ...]] = {}
    for row in rows:
        if row.rid is not None:
            figures = (row.prompt_tokens, row.cached_tokens, row.output_tokens, row.cost_nano)
            so_far = ledger.get(row.rid, (0, 0, 0, 0))
            ledger[row.rid] = tuple(a + (b or 0) for a, b in zip(so_far, figures, strict=True))
    never_sent = {rid: figures for rid, figures in ledger.items() if rid not in truth}
    assert set(never_sent.values()) <= {(0, 0, 0, 0)}
    assert {rid: ledger.get(rid) for rid in truth} == truth
    total = tuple(map(sum, zip(*ledger.values(), strict=True)))
    served = engine.served
    assert total[:3] == (served.prompt_tokens, served.cached_tokens, served.output_tokens)
