"""Workers die in the middle of thoughts by every strategy: what was told is not asked again."""

import os
import signal
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from anyio import create_task_group

from orchestrator.steps import RunStatus
from orchestrator.strategies import (
    AdaptiveTree,
    Agent,
    Auto,
    Beam,
    BestOf,
    Cascade,
    ConfidentVote,
    Direct,
    EarlyExit,
    Revise,
    Vote,
)
from orchestrator.testing import Say, scripted_engine
from orchestrator.testing.replies import Reply
from orchestrator.testing.requests import ScriptedRequest
from tests.bench import Bench, bench
from tests.programs import thoughts
from tests.workers import worker_process

STRATEGIES = {
    "adaptive_tree": AdaptiveTree(at_most=5),
    "agent": Agent(),
    "auto": Auto(pilots=3),
    "beam": Beam(width=2, steps=3),
    "best_of": BestOf(at_most=5, parallel=2),
    "cascade": Cascade(pools=("default", "large"), by="agreement", at_most_each=2),
    "confident_vote": ConfidentVote(warmup=2, at_most=5),
    "direct": Direct(thinking_at_most=20),
    "early_exit": EarlyExit(every=4, agree=2),
    "revise": Revise(at_most=3),
    "vote": Vote(at_most=6, confidence=None, parallel=2),
}


def _script(request: ScriptedRequest) -> Reply:
    """Answers that differ, so that no strategy ends early; each takes half a second."""
    return Say(f"Let me think for a while about all of this. It is {17 + request.number % 5}.", tokens_per_second=24)


async def test_by_any_strategy(temporal_address: str, postgres_url: str, tmp_path: Path) -> None:
    runs: dict[str, Any] = {}

    async def wait(here: Bench, name: str, run_id: str) -> None:
        runs[name] = await here.runs.wait(run_id)

    async with (
        scripted_engine(_script) as engine,
        bench([thoughts.app], temporal=temporal_address, database_url=postgres_url, engine=None, workers=False) as here,
    ):

        def workers(held: ExitStack) -> list[int]:
            program = "tests.programs.thoughts:app"
            return [
                held.enter_context(
                    worker_process(temporal_address, postgres_url, engine.url, tmp_path / "log", app=program, pool=pool)
                ).pid
                for pool in ("default", "large")
            ]

        ids = {
            name: await here.start(
                "solved", {"strategy": strategy.model_dump(mode="json"), "judge": "exact", "max_tokens": 40}
            )
            for name, strategy in STRATEGIES.items()
        }
        with ExitStack() as held:
            pids = workers(held)
            await engine.wait_for_requests(len(STRATEGIES) * 2)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
        asked = {record.rid for record in engine.requests}
        with ExitStack() as held:
            workers(held)
            async with create_task_group() as group:
                for name, run_id in ids.items():
                    group.start_soon(wait, here, name, run_id)
        assert {name: run.status for name, run in runs.items()} == dict.fromkeys(STRATEGIES, RunStatus.COMPLETED)

        rows = [row for row in await here.charges() if row.kind == "generate" and row.entry == 0]
        used = Counter((row.run_id, row.activity_id, row.call) for row in rows if row.outcome == "used")
        assert set(used.values()) == {1}
        died = [row for row in rows if row.outcome == "retried"]
        told = {row.rid for row in rows if row.outcome == "used" and row.attempt == 1} & asked
        assert told, "some had been told before the kill"
        assert died, "some were running"
        again = {(row.run_id, row.activity_id) for row in rows if row.attempt > 1}
        assert {(row.run_id, row.activity_id) for row in died} <= again
        assert not again & {(row.run_id, row.activity_id) for row in rows if row.rid in told}
        assert len(engine.requests) == len({record.rid for record in engine.requests})
