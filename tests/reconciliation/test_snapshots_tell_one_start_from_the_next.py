"""What an engine has counted is written down, with a boot that changes when it starts again."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy import Row, select

from orchestrator.database import Database
from orchestrator.database.tables import engine_counters
from orchestrator.reconciliation import Sampler
from orchestrator.testing import Say, scripted_engine

URL = "http://engine:30000"


class Engine:
    """Shows what it is told to."""

    def __init__(self) -> None:
        self.metrics = ""
        self.time = "2026-03-01T12:00:00+00:00"

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/metrics":
            return httpx.Response(200, text=self.metrics)
        return httpx.Response(200, json={"timestamp": self.time, "loads": []})


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
async def sampler(database: Database, engine: Engine) -> AsyncIterator[Sampler]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(engine)) as http:
        yield Sampler(database, http, server=f"{URL}/", pool="gpus")


async def rows(database: Database) -> list[Row[Any]]:
    async with database.read() as connection:
        return list((await connection.execute(select(engine_counters).order_by(engine_counters.c.at_us))).all())


async def test_a_snapshot_is_what_the_engine_shows(database: Database, sampler: Sampler, engine: Engine) -> None:
    engine.metrics = 'sglang:prompt_tokens_total{a="1"} 3.0\nsglang:prompt_tokens_total{a="2"} 4.0\n'
    sampled = await sampler.sample()
    (row,) = await rows(database)
    assert (row.server, row.pool, row.at_us, row.boot) == (URL, "gpus", sampled.at_us, sampled.boot)
    assert (row.prompt_tokens, row.cached_tokens, row.output_tokens, row.requests) == (7, None, None, None)
    assert (row.idle_us, row.busy_us, row.moments) == (None, None, None)


async def test_a_counter_that_falls_is_a_new_start(database: Database, sampler: Sampler, engine: Engine) -> None:
    shown = ("", "5.0", "5.0", "9.0", "8.0", "9.0", "", "2.0")
    for second, value in enumerate(shown):
        engine.time = f"2026-03-01T12:00:0{second}+00:00"
        engine.metrics = f"sglang:generation_tokens_total {value}\n" if value else ""
        await sampler.sample()
    boots = [row.boot for row in await rows(database)]
    starts = [number for number, boot in enumerate(boots) if number == 0 or boot != boots[number - 1]]
    assert starts == [0, 4, 6]
    assert len(set(boots)) == 3


async def test_two_snapshots_of_one_moment_are_both_kept(database: Database, sampler: Sampler) -> None:
    await sampler.sample()
    await sampler.sample()
    first, second = await rows(database)
    assert second.at_us == first.at_us + 1
    assert second.boot == first.boot


async def test_an_engine_that_starts_again_is_another_boot(database: Database) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        for _ in range(2):
            async with scripted_engine([Say("hi")]) as engine:
                sampler = Sampler(database, http, server=engine.url, pool="default")
                boots = {(await sampler.sample()).boot for _ in range(2)}
                assert len(boots) == 1
    assert len({row.boot for row in await rows(database)}) == 2
