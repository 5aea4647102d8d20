"""Every strategy on the real engine: it comes to its end, losers are gone at once, and the bill is the engine's own."""

import re
import time

import anyio
import httpx
import pytest
from pydantic import JsonValue

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
    Strategy,
    Vote,
)
from tests.bench import Bench, bench, result_of
from tests.programs import thoughts

pytestmark = pytest.mark.timeout(400)

COUNTERS = ("prompt_tokens_total", "cached_tokens_total", "generation_tokens_total")
QUESTION = "What is 2 + 3? Write the sum, and nothing else."

EVERY: list[tuple[Strategy, str]] = [
    (Direct(), "none"),
    (Direct(thinking_at_most=12), "none"),
    (Vote(at_most=3), "none"),
    (ConfidentVote(warmup=2, at_most=3, window=8), "none"),
    (EarlyExit(every=8, agree=2, max_tokens=6), "none"),
    (BestOf(at_most=3), "exact"),
    (BestOf(at_most=2, accept=None), "graded"),
    (BestOf(at_most=2, accept=None), "likely"),
    (Revise(at_most=2), "exact"),
    (Cascade(pools=("default", "default-again"), accept=0.0), "none"),
    (Beam(width=2, steps=2), "graded"),
    (AdaptiveTree(at_most=3), "tool"),
    (Agent(), "none"),
    (Auto(pilots=2), "exact"),
]


async def _counted(url: str) -> list[int]:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        text = (await http.get("/metrics")).text
    return [
        sum(int(float(value)) for value in re.findall(rf"^sglang:{name}{{.*}} (.*)$", text, re.MULTILINE))
        for name in COUNTERS
    ]


async def _running(url: str) -> int:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        return (await http.get("/v1/loads?include=core")).json()["loads"][0]["num_running_reqs"]


async def _billed(here: Bench) -> list[int]:
    rows = await here.charges()
    assert all(row.outcome is not None for row in rows)
    return [
        sum(getattr(row, name) or 0 for row in rows) for name in ("prompt_tokens", "cached_tokens", "output_tokens")
    ]


def _puzzle(strategy: Strategy, judge: str = "none", **more: JsonValue) -> dict[str, JsonValue]:
    return {"strategy": strategy.model_dump(mode="json"), "judge": judge, "right": 5, "question": QUESTION, **more}


async def test_by_every_strategy(temporal_address: str, sqlite_url: str, sglang_url: str) -> None:
    async with bench([thoughts.app], temporal=temporal_address, database_url=sqlite_url, engine=sglang_url) as here:
        before = await _counted(sglang_url)
        ended: dict[str, str] = {}
        for strategy, judge in EVERY:
            run = await here.run("solved", _puzzle(strategy, judge, max_tokens=32))
            said = "" if run.status is RunStatus.COMPLETED else str(run.error)
            assert run.status is RunStatus.COMPLETED or "came to no answer" in said, (strategy, said)
            ended[repr(strategy)] = said
        made = [after - early for after, early in zip(await _counted(sglang_url), before, strict=True)]
        assert await _billed(here) == made
        assert sum(not said for said in ended.values()) >= len(EVERY) // 2, ended


async def test_losers_are_gone_within_a_second(temporal_address: str, sqlite_url: str, sglang_url: str) -> None:
    async with bench([thoughts.app], temporal=temporal_address, database_url=sqlite_url, engine=sglang_url) as here:
        before = await _counted(sglang_url)
        tale = "Tell a long tale about a number, and name many other numbers in it."
        puzzle = _puzzle(BestOf(at_most=4, accept=0.0), "likely") | {"question": tale, "max_tokens": 300}
        run_id = await here.start("first_of_many", puzzle)
        run = await here.runs.wait(run_id)
        ended = time.monotonic()
        with anyio.fail_after(5):
            while await _running(sglang_url):  # noqa: ASYNC110 - the engine has no event to wait for
                await anyio.sleep(0.02)
        assert time.monotonic() - ended < 1
        assert run.status is RunStatus.COMPLETED, run.error
        made = [after - early for after, early in zip(await _counted(sglang_url), before, strict=True)]
        assert await _billed(here) == made
        rows = await here.charges()
        discarded = sum(row.output_tokens or 0 for row in rows if row.outcome == "discarded")
        used = sum(row.output_tokens or 0 for row in rows if row.outcome == "used")
        assert discarded > 0
        assert discarded + used == made[2]
        assert result_of(run)["receipt"]["usage"]["output"] == made[2]
