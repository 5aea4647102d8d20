"""Over real Temporal: HTTP request, workflow, activities and the engine's stages are one trace."""

import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal

import httpx
from pydantic import JsonValue
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orchestrator.api import create_api, serving
from orchestrator.runs import Run
from orchestrator.telemetry import Telemetry
from orchestrator.testing import Break, Reply, Say, ScriptedRequest, scripted_engine
from tests.bench import Bench, bench
from tests.programs import programs
from tests.telemetry.collector import Collector, Span

Flush = Callable[[], None]
USAGE = ("gen_ai.usage.", "llm.", "orchestrator.cost")


@asynccontextmanager
async def _listened(engine: str, heard: list[str]) -> AsyncGenerator[str]:
    """Between worker and engine, to hear which trace a call belongs to."""

    async def forward(request: Request) -> Response:
        if request.url.path == "/generate":
            heard.append(request.headers["traceparent"])
        answer = await http.request(
            request.method, request.url.path, params=request.query_params, content=await request.body()
        )
        return Response(answer.content, answer.status_code, media_type=answer.headers["content-type"])

    async with httpx.AsyncClient(base_url=engine, trust_env=False) as http:
        proxy = Starlette(routes=[Route("/{path:path}", forward, methods=["GET", "POST"])])
        async with serving(proxy, "127.0.0.1", 0) as url:
            yield url


async def _run_traced(here: Bench, telemetry: Telemetry, workflow: str, value: JsonValue) -> tuple[Run, str, str]:
    """Runs a workflow by HTTP, from within a trace; the run, the trace and the caller's span."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    api = create_api(here.runs, settings=here.settings, telemetry=telemetry)
    async with (
        serving(api, "127.0.0.1", 0) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as http,
    ):
        headers = {"traceparent": f"00-{trace_id}-{span_id}-01"}
        response = await http.post(f"/v1/workflows/{workflow}/runs", json=value, headers=headers)
        run_id = response.json()["run_id"]
        here.started.append(run_id)
        return await here.runs.wait(run_id), trace_id, span_id


def _only(spans: Sequence[Span], name: str) -> Span:
    (span,) = [span for span in spans if span.name == name]
    return span


async def test_each_part_is_a_child_of_what_caused_it(
    temporal_address: str, sqlite_url: str, collector: Collector, telemetry: Telemetry, flush: Flush
) -> None:
    heard: list[str] = []
    async with (
        scripted_engine([Say("Four.")]) as engine,
        _listened(engine.url, heard) as url,
        bench(
            [programs.app], temporal=temporal_address, database_url=sqlite_url, engine=url, telemetry=telemetry
        ) as here,
    ):
        run, trace_id, caller = await _run_traced(here, telemetry, "think", "What is 2+2?")
        rows = await here.charges()
    flush()
    collector.wait_for(trace_id, "invoke_workflow think")
    spans = collector.trace(trace_id)
    request = _only(spans, "POST /v1/workflows/{name}/runs")
    ran = _only(spans, "invoke_workflow think")
    chat = _only(spans, "chat scripted")
    assert [request.parent_id, ran.parent_id, chat.parent_id] == [caller, request.span_id, ran.span_id]
    stages = {span.name: span for span in spans if span.parent_id == chat.span_id}
    assert set(stages) == {"engine.queue", "engine.prefill", "engine.decode"}
    assert stages["engine.queue"].ended == stages["engine.prefill"].began
    assert stages["engine.prefill"].ended == stages["engine.decode"].began
    assert chat.began <= stages["engine.queue"].began <= stages["engine.decode"].ended <= chat.ended
    assert ran.began <= chat.began <= chat.ended <= ran.ended
    assert heard == [f"00-{trace_id}-{chat.span_id}-01"]
    assert len(spans) == 6

    (row,) = [row for row in rows if row.workflow_id == run.run_id]
    usage = run.receipt.usage
    assert chat.attributes | {"gen_ai.response.time_to_first_chunk": None} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "sglang",
        "gen_ai.request.model": "scripted",
        "gen_ai.response.model": "scripted",
        "gen_ai.response.id": row.rid,
        "gen_ai.request.max_tokens": 256,
        "gen_ai.usage.input_tokens": usage.prompt,
        "gen_ai.usage.output_tokens": usage.output,
        "gen_ai.usage.cache_read.input_tokens": usage.cached,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning,
        "gen_ai.response.time_to_first_chunk": None,
        "openinference.span.kind": "LLM",
        "llm.cost.total": float(run.receipt.cost),
        "orchestrator.attempt": 1,
        "orchestrator.outcome": "used",
        "orchestrator.estimated": False,
        "orchestrator.cost.nano_usd": int(run.receipt.cost.scaleb(9)),
        "server.address": "127.0.0.1",
        "server.port": httpx.URL(url).port,
    }
    assert 0 < chat.attributes["gen_ai.response.time_to_first_chunk"] < 10
    assert ran.attributes == {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.agent.name": "think",
        "openinference.span.kind": "CHAIN",
        "temporalWorkflowID": run.run_id,
        "temporalRunID": row.run_id,
    }
    assert {span.service for span in spans} == {"orchestrator"}


async def test_usage_stands_on_leaves_and_sums_to_the_bill(
    temporal_address: str, sqlite_url: str, collector: Collector, telemetry: Telemetry, flush: Flush
) -> None:
    def script(request: ScriptedRequest) -> Reply:
        if request.step % 3 == 2 and request.attempt == 1:
            return Break(after_tokens=5)
        return Say(f"This is step {request.step}.")

    async with (
        scripted_engine(script) as engine,
        bench(
            [programs.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url, telemetry=telemetry
        ) as here,
    ):
        run, trace_id, _ = await _run_traced(here, telemetry, "converse", {"steps": 6})
        served = engine.served
    flush()
    collector.wait_for(trace_id, "invoke_workflow converse")
    spans = collector.trace(trace_id)
    chats = [span for span in spans if span.name == "chat scripted"]
    assert [chat.attributes["orchestrator.outcome"] for chat in chats].count("retried") == 2
    assert [chat.failed for chat in chats].count(True) == 2
    assert {chat.attributes.get("error.type") for chat in chats} == {None, "EngineUnavailable"}
    for span in spans:
        assert span in chats or not any(name.startswith(USAGE) for name in span.attributes)
    sums = {
        name: sum(chat.attributes[f"gen_ai.usage.{name}"] for chat in chats)
        for name in ("input_tokens", "output_tokens", "cache_read.input_tokens")
    }
    assert sums == {
        "input_tokens": served.prompt_tokens,
        "output_tokens": served.output_tokens,
        "cache_read.input_tokens": served.cached_tokens,
    }
    cost = sum(chat.attributes["orchestrator.cost.nano_usd"] for chat in chats)
    assert Decimal(cost).scaleb(-9) == run.receipt.cost


async def test_tools_and_retrieval_have_spans_of_their_own(
    temporal_address: str, sqlite_url: str, collector: Collector, telemetry: Telemetry, flush: Flush
) -> None:
    async with bench(
        [programs.app], temporal=temporal_address, database_url=sqlite_url, engine=None, telemetry=telemetry
    ) as here:
        _, called, _ = await _run_traced(here, telemetry, "call_one", "broken")
        _, looked, _ = await _run_traced(here, telemetry, "look_up", "nowhere")
    flush()
    tool = collector.wait_for(called, "execute_tool broken")
    assert tool.failed
    assert tool.attributes["gen_ai.operation.name"] == "execute_tool"
    assert tool.attributes["gen_ai.tool.name"] == "broken"
    assert tool.attributes["error.type"] == "ToolFailed"
    assert "the disk is on fire" not in str(collector.trace(called))
    retrieval = collector.wait_for(looked, "retrieval nowhere")
    assert retrieval.attributes["gen_ai.operation.name"] == "retrieval"
    assert retrieval.attributes["gen_ai.data_source.id"] == "nowhere"
    assert retrieval.attributes["gen_ai.retrieval.top_k"] == 5
    assert collector.wait_for(looked, "invoke_workflow look_up").failed
