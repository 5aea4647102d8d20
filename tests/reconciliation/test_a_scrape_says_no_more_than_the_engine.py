"""Counters are read as the engine shows them: sums over labels, and nothing where it shows nothing."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from orchestrator.engine.counters import EngineCounters, read_counters
from orchestrator.errors import ConfigurationError, EngineError, EngineUnavailable

URL = "http://engine:30000"

FRESH = """
# HELP sglang:scheduler_idle_seconds_total Total seconds that the scheduler is idle.
# TYPE sglang:scheduler_idle_seconds_total counter
sglang:scheduler_idle_seconds_total{engine_type="unified",pp_rank="0",priority="",tp_rank="0"} 8.102688717
# TYPE sglang:startup_time_seconds gauge
sglang:startup_time_seconds{phase="load_weight"} 0.41861946099993474
sglang:startup_time_seconds{phase="tokenizer_e2e"} 20.415088961000038
# TYPE sglang:fwd_occupancy gauge
sglang:fwd_occupancy{tp_rank="0"} NaN
"""
"""What the real server shows before its first request."""

USED = (
    FRESH
    + """
# TYPE sglang:prompt_tokens_total counter
sglang:prompt_tokens_total{is_streaming="false",priority="0",tenant="a",workflow=""} 30.0
sglang:prompt_tokens_total{is_streaming="true",priority="0",tenant="b",workflow=""} 165.0
# TYPE sglang:cached_tokens_total counter
sglang:cached_tokens_total{cache_source="device",priority="0"} 160.0
sglang:cached_tokens_total{cache_source="host",priority="0"} 2.0
# TYPE sglang:generation_tokens_total counter
sglang:generation_tokens_total{is_streaming="true",priority="0"} 391.0
# TYPE sglang:num_requests_total counter
sglang:num_requests_total{is_streaming="true",priority="0"} 17.0
# TYPE sglang:num_aborted_requests_total counter
sglang:num_aborted_requests_total{priority=""} 5.0
# TYPE sglang:num_retracted_input_tokens_total counter
sglang:num_retracted_input_tokens_total{tp_rank="0"} 130.0
# TYPE sglang:num_retracted_output_tokens_total counter
sglang:num_retracted_output_tokens_total{tp_rank="0"} 360.0
# TYPE sglang:forward_execution_seconds_total counter
sglang:forward_execution_seconds_total{category="prefill"} 1.25
sglang:forward_execution_seconds_total{category="decode"} 2.000001
sglang:forward_execution_seconds_total{category="other"} NaN
"""
)

LOADS: Mapping[str, Any] = {
    "timestamp": "2026-11-25T10:30:04.077474+00:00",
    "loads": [
        {
            "dp_rank": 0,
            "total_prefill_uncached_tokens": 33,
            "total_prefill_busy_us": 1890505,
            "decode_moments": [197.0, 359.0, 12542512.0, 863.0, 26890300.0, 359.0],
        },
        {
            "dp_rank": 1,
            "total_prefill_uncached_tokens": 7,
            "total_prefill_busy_us": 5,
            "decode_moments": [3.0, 1.0, 2.0, 3.0, 4.0, 5.0],
        },
    ],
}


async def read(metrics: httpx.Response, loads: httpx.Response | None = None) -> EngineCounters:
    answers = {"/metrics": metrics, "/v1/loads": loads or httpx.Response(200, json=LOADS)}
    transport = httpx.MockTransport(lambda request: answers[request.url.path])
    async with httpx.AsyncClient(transport=transport) as http:
        return await read_counters(http, f"{URL}/")


async def test_a_server_that_did_nothing_shows_nothing() -> None:
    counters = await read(httpx.Response(200, text=FRESH))
    assert (counters.requests, counters.aborted) == (None, None)
    assert (counters.prompt_tokens, counters.cached_tokens, counters.output_tokens) == (None, None, None)
    assert (counters.retracted_tokens, counters.busy_us) == (None, None)
    assert counters.idle_us == 8_102_689


async def test_each_counter_is_the_sum_over_its_labels() -> None:
    counters = await read(httpx.Response(200, text=USED))
    assert counters == EngineCounters(
        server=URL,
        at_us=1795602604077474,
        boot=counters.boot,
        requests=17,
        aborted=5,
        prompt_tokens=195,
        cached_tokens=162,
        output_tokens=391,
        retracted_tokens=490,
        idle_us=8_102_689,
        busy_us=3_250_001,
        moments={
            "prefill_tokens": 40,
            "prefill_us": 1890510,
            "decode": [200.0, 360.0, 12542514.0, 866.0, 26890304.0, 364.0],
        },
    )


async def test_a_restart_is_another_boot_and_a_request_isnt() -> None:
    fresh, used = await read(httpx.Response(200, text=FRESH)), await read(httpx.Response(200, text=USED))
    again = await read(httpx.Response(200, text=FRESH.replace("20.415088961000038", "20.415088962")))
    assert fresh.boot == used.boot is not None
    assert again.boot not in (None, fresh.boot)
    process = await read(httpx.Response(200, text=f"{FRESH}process_start_time_seconds 1.7e9\n"))
    assert process.boot not in (None, fresh.boot)
    assert (await read(httpx.Response(200, text="sglang:num_requests_total 3.0\n"))).boot is None


async def test_a_server_without_loads_has_no_moments_and_our_time() -> None:
    counters = await read(httpx.Response(200, text=USED), httpx.Response(404))
    assert counters.moments is None
    assert counters.at_us > 1_700_000_000_000_000
    for lacking in ("[]", '[{"total_prefill_uncached_tokens": 1, "total_prefill_busy_us": 1}]'):
        loads = httpx.Response(200, text=f'{{"loads": {lacking}}}')
        assert (await read(httpx.Response(200, text=USED), loads)).moments is None


async def test_a_server_without_metrics_is_told_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match="--enable-metrics"):
        await read(httpx.Response(404))


async def test_a_server_that_fails_is_no_server_that_did_nothing() -> None:
    with pytest.raises(EngineError, match="503"):
        await read(httpx.Response(503, text="loading"))
    async with httpx.AsyncClient(trust_env=False) as http:
        with pytest.raises(EngineUnavailable):
            await read_counters(http, "http://127.0.0.1:1")
