"""Real runs on a scripted engine: what the workers count is what the engine served and the ledger booked."""

import pytest

from orchestrator.telemetry import Exposition, Metrics, Telemetry
from orchestrator.testing import Break, Fail, Reply, Say, ScriptedRequest, scripted_engine
from tests.bench import bench
from tests.caches import program as keeping
from tests.programs import programs
from tests.telemetry.program import app as choosing
from tests.telemetry.reading import Reading

LABELS = {"workflow", "kind", "name", "model", "pool", "outcome", "tenant", "type", "stage", "queue", "limit", "le"}


def _breaking(request: ScriptedRequest) -> Reply:
    if request.step % 5 == 4 and request.attempt == 1:
        return Break(after_tokens=7)
    return Say(f"This is step {request.step}.")


async def _read(telemetry: Telemetry) -> Reading:
    return Reading(await Exposition(telemetry.metrics).text())


async def test_tokens_are_those_that_the_engine_served_failed_attempts_included(
    temporal_address: str, sqlite_url: str
) -> None:
    telemetry = Telemetry()
    async with (
        scripted_engine(_breaking) as engine,
        bench(
            [programs.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url, telemetry=telemetry
        ) as here,
    ):
        run = await here.run("converse", {"steps": 10})
        served = engine.served
        rows = await here.charges()
    read = await _read(telemetry)
    assert read.by("orchestrator_tokens_total", "type", workflow="converse", model="scripted", pool="default") == {
        ("input",): served.prompt_tokens,
        ("cache_read",): served.cached_tokens,
        ("output",): served.output_tokens,
        ("reasoning",): 0,
    }
    assert read.by("orchestrator_tokens_total", "outcome", type="output") == {
        ("used",): served.output_tokens - 2 * 7,
        ("retried",): 2 * 7,
    }
    attempts = {("used",): 10, ("retried",): 2}
    assert read.by("orchestrator_attempts_total", "outcome", kind="generate", name="scripted") == attempts
    assert read.by("orchestrator_step_duration_seconds_count", "outcome", kind="generate") == attempts
    spend = read.by("orchestrator_spend_usd_total", "workflow", "kind")
    assert spend == {("converse", "generate"): pytest.approx(float(run.receipt.cost))}
    waste = read.by("orchestrator_waste_usd_total", "outcome")
    assert waste == {("retried",): pytest.approx(float(run.receipt.waste))}
    assert sum(row.cost_nano for row in rows) / 1e9 == pytest.approx(spend["converse", "generate"])

    assert read.sum("orchestrator_schedule_to_start_seconds_count", queue="engine.default") == 12
    assert read.sum("orchestrator_ttft_seconds_count", model="scripted") == 12
    # An attempt that broke off has no word of the engine on how long its stages took.
    for name in ("orchestrator_engine_queue_seconds_count", "orchestrator_time_per_output_token_seconds_count"):
        assert read.sum(name, model="scripted") >= 10
    assert set(read.by("orchestrator_engine_stage_seconds_count", "stage")) == {("prefill",), ("decode",)}


async def test_an_attempt_that_was_refused_counts_zero_tokens(temporal_address: str, sqlite_url: str) -> None:
    telemetry = Telemetry()
    async with (
        scripted_engine([Fail(status=400, message="no such thing")]) as engine,
        bench(
            [programs.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url, telemetry=telemetry
        ) as here,
    ):
        await here.run("think", "Do it.")
    read = await _read(telemetry)
    assert read.by("orchestrator_attempts_total", "outcome") == {("failed",): 1}
    assert read.by("orchestrator_tokens_total", "type", outcome="failed") == {
        (kind,): 0 for kind in ("input", "cache_read", "output", "reasoning")
    }
    assert read.sum("orchestrator_ttft_seconds_count") == 0


async def test_a_step_that_no_budget_holds_is_a_refusal(temporal_address: str, sqlite_url: str) -> None:
    telemetry = Telemetry()
    async with (
        scripted_engine(lambda request: Say("word " * 30)) as engine,
        bench(
            [programs.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url, telemetry=telemetry
        ) as here,
    ):
        await here.run("thrifty", 12)
    refused = (await _read(telemetry)).by("orchestrator_budget_refusals_total", "workflow", "limit")
    assert list(refused) == [("thrifty", "usd")]
    assert refused["thrifty", "usd"] >= 1


@pytest.mark.parametrize("named", [False, True])
async def test_labels_are_bounded(temporal_address: str, sqlite_url: str, named: bool) -> None:
    telemetry = Telemetry(Metrics(tenant_labels=named))
    async with (
        scripted_engine([Say("Four.")]) as engine,
        bench(
            [programs.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url, telemetry=telemetry
        ) as here,
    ):
        await here.run("think", "What is 2+2?")
        await here.run("call_one", "write_once")
        await here.run("look_up", "a-tenants-own-collection")
        ids = {value for row in await here.charges() for value in (row.workflow_id, row.run_id, row.run, row.rid)}
    samples = [sample for family in (await _read(telemetry)).families.values() for sample in family.samples]
    assert {label for sample in samples for label in sample.labels} <= LABELS
    values = {value for sample in samples for value in sample.labels.values()}
    assert not values & ids
    assert "a-tenants-own-collection" not in values
    tenants = {sample.labels["tenant"] for sample in samples if "tenant" in sample.labels}
    assert tenants == ({"default"} if named else {""})
    kinds = {sample.labels["kind"] for sample in samples if sample.name == "orchestrator_attempts_total"}
    assert kinds == {"generate", "tool", "retrieve"}


async def test_what_a_run_throws_away_is_waste(temporal_address: str, sqlite_url: str) -> None:
    telemetry = Telemetry()
    async with (
        scripted_engine([Say("One."), Say("Two.")]) as engine,
        bench(
            [choosing], temporal=temporal_address, database_url=sqlite_url, engine=engine.url, telemetry=telemetry
        ) as here,
    ):
        run = await here.run("choose", "Which?")
    read = await _read(telemetry)
    assert run.receipt.waste > 0
    assert read.by("orchestrator_waste_usd_total", "workflow", "outcome") == {
        ("choose", "discarded"): pytest.approx(float(run.receipt.waste))
    }
    # When it was settled, nobody knew that it would be thrown away.
    assert read.by("orchestrator_spend_usd_total", "outcome") == {("used",): pytest.approx(float(run.receipt.cost))}


async def test_a_kept_result_is_counted_and_is_no_call_of_an_engine(temporal_address: str, sqlite_url: str) -> None:
    telemetry = Telemetry()
    async with (
        scripted_engine([Say("Blue.")]) as engine,
        bench(
            [keeping.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url, telemetry=telemetry
        ) as here,
    ):
        first = await here.run("asked", {})
        await here.run("asked", {})
    read = await _read(telemetry)
    assert read.by("orchestrator_attempts_total", "kind", "outcome") == {("generate", "used"): 2}
    assert read.by("orchestrator_kept_results_total", "workflow", "kind", "name") == {
        ("asked", "generate", "scripted"): 1
    }
    saved = read.by("orchestrator_saved_usd_total", "workflow", "kind")
    assert saved == {("asked", "generate"): pytest.approx(float(first.receipt.cost))}
    assert read.sum("orchestrator_spend_usd_total") == pytest.approx(float(first.receipt.cost))
    assert read.sum("orchestrator_ttft_seconds_count") == 1
    assert read.sum("orchestrator_tokens_total", type="input") == first.receipt.usage.prompt
