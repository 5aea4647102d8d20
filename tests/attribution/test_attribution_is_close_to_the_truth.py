"""In a simulation that knows what each call took; and in sums, on the real engine."""

import httpx
import pytest

from benchmarks.attribution import measure
from benchmarks.real_engine import Load, compare
from orchestrator.engine import SGLang
from orchestrator.engine.counters import read_counters
from tests.eventually import eventually


def test_within_the_targets_at_every_load() -> None:
    figures = measure(calls=1_000, seed=11)
    assert figures["simulated"] is True
    assert figures["conserved"] is True
    assert figures["median_error"] < 0.06
    assert figures["p95_error"] < 0.25
    for load in figures["loads"]:
        assert all(load["median_error"] < simpler["median_error"] for simpler in load["simpler"].values())


@pytest.mark.engine
async def test_on_the_real_engine_it_is_the_time_that_the_engine_was_not_idle(sglang_url: str) -> None:
    async with (
        SGLang.open(sglang_url) as engine,
        httpx.AsyncClient(trust_env=False, timeout=60) as http,
    ):
        load = Load(engine)
        before = await read_counters(http, sglang_url)
        await load.mixed(6)
        after = await read_counters(http, sglang_url)
        ended = max(call.finished or 0 for call in load.calls)

        async def idled() -> bool:
            nonlocal after
            after = await read_counters(http, sglang_url)
            return (after.idle_us or 0) > (before.idle_us or 0) and after.at_us > ended + 3_000_000

        await eventually(idled)
    figures = compare(load.calls, before, after)
    assert (figures["calls"], figures["timed_calls"], figures["conserved"]) == (6, 6, True)
    assert figures["sum_to_wall"] == 1
    # The engine counts its idle time about every second, at both ends.
    assert figures["attributed_seconds"] == pytest.approx(figures["engine_busy_seconds"], rel=0.02, abs=2.5)
