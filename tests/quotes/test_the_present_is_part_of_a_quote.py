"""Real runs on the real Temporal: what their inputs' sizes say, and what waits now."""

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal

import httpx
import pytest

from orchestrator.api import create_api, serving
from orchestrator.database import now
from orchestrator.errors import InvalidInput, UnknownName
from orchestrator.quotes import Basis, Input, Quote, Subject
from orchestrator.steps import engine_queue
from orchestrator.testing import Say, ScriptedEngine, scripted_engine
from orchestrator.testing.requests import ScriptedRequest
from orchestrator.usage import Usage
from orchestrator.worker import Role, running_workers
from tests.bench import Bench, bench
from tests.eventually import eventually
from tests.programs import programs
from tests.reports.rows import Rows

RUNS = 20


def echo(request: ScriptedRequest) -> Say:
    return Say(request.last_message)


def subject(given: Input | None = None, workflow: str = "think") -> Subject:
    return Subject.among(programs.app.workflows, workflow, "default", given)


async def test_a_longer_input_is_quoted_dearer(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine(echo) as engine,
        bench([programs.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        words = {number: "word " * number for number in range(1, RUNS + 1)}
        ended = [await here.run("think", text) for text in words.values()]
        short = await here.runs.quotes.quote(subject(Input(words[2])))
        long = await here.runs.quotes.quote(subject(Input(words[18])))
        whatever = await here.runs.quotes.quote(subject())
        beyond = await here.runs.quotes.quote(subject(Input("word " * 100)))

    assert short.input is not None
    assert (short.input.runs, short.input.bytes, short.input.smallest) == (RUNS, len('""') + 10, len('""') + 5)
    assert {"cost", "tokens", "prompt", "output"} <= set(short.input.scaled)
    assert not short.input.beyond
    for made, number in ((short, 2), (long, 18)):
        exact = ended[number - 1].receipt
        assert made.cost is not None
        assert made.output is not None
        assert abs(made.output.p50 - (exact.usage.output or 0)) <= 1
        assert abs(made.cost.p50 / exact.cost - 1) < Decimal("0.25")  # the cache served some of them
    assert whatever.input is None
    assert whatever.cost is not None
    costs = sorted(run.receipt.cost for run in ended)
    assert (whatever.cost.p50, whatever.cost.p90) == (costs[9], costs[17])  # by nearest rank, of twenty
    assert beyond.input is not None
    assert beyond.input.beyond
    assert beyond.output is not None
    assert abs(beyond.output.p50 / (5 * (ended[-1].receipt.usage.output or 0)) - 1) < 0.05


async def test_an_input_that_breaks_the_schema_is_refused(temporal_address: str, sqlite_url: str) -> None:
    async with bench(
        [programs.app], temporal=temporal_address, database_url=sqlite_url, engine=None, workers=False
    ) as here:
        with pytest.raises(InvalidInput, match="workflow 'think'"):
            await here.runs.quotes.quote(subject(Input(5)))
        with pytest.raises(UnknownName, match="did you mean 'think'"):
            subject(workflow="thimk")


async def test_queued_calls_are_waited_for(temporal_address: str, sqlite_url: str) -> None:
    """An engine with one slot runs one call, and three are queued: calls took 8 s each, so a newcomer waits 24 s."""
    history = Rows()
    async with scripted_engine(lambda _: Say("yes", hold_after_tokens=1)) as engine:
        for _ in range(5):
            run = history.run("converse", tenant="default")
            for call in range(2):  # two calls, one after the other
                history.charge(
                    run, Usage(prompt=1), server=engine.url, prefill_us=3_000_000, decode_us=5_000_000,
                    at=now() - timedelta(minutes=9 - call), pool="default",
                )  # fmt: skip
        async with bench(
            [programs.app], temporal=temporal_address, database_url=sqlite_url, engine=None, workers=False
        ) as here:
            await history.add(here.database)
            with_one_slot = here.settings.model_copy(
                update={"engine": here.settings.engine.model_copy(update={"concurrency": 1})}
            )
            roles = (Role.WORKFLOWS, Role.LEDGER, Role.ENGINE)
            async with running_workers(
                [programs.app], with_one_slot, address=temporal_address, engine_urls=[engine.url], roles=roles
            ):
                runs = [await here.start("think", "Wait.") for _ in range(4)]
                await engine.wait_until_held()

                async def quoted() -> Quote:
                    return await here.runs.quotes.quote(subject(workflow="converse"))

                async def are_queued() -> bool:
                    made = await quoted()
                    return made.waiting is not None and made.waiting.pools[0].queued == 3

                await eventually(are_queued)
                made = await quoted()
                for _ in runs:
                    await engine.wait_until_held()
                    engine.release()
                    await engine.wait_until_idle()
                for run in runs:
                    await here.runs.wait(run)
    assert made.waiting is not None
    (load,) = made.waiting.pools
    assert (load.pool, load.queued, load.waiting, load.running) == ("default", 3, 0, 1)
    assert (load.call_time, load.wait) == (timedelta(seconds=8), timedelta(seconds=24))
    assert (made.waiting.rounds, made.waiting.expected) == (2, timedelta(seconds=48))
    assert made.waiting.unattended == []


async def test_an_engine_that_does_not_answer_is_unknown_and_a_queue_without_worker_is_named(
    temporal_address: str, sqlite_url: str
) -> None:
    rows = Rows()
    past = [rows.run("think", tenant="default") for _ in range(5)]
    for run in past:
        rows.charge(run, Usage(prompt=1), server="http://127.0.0.1:1", pool="empty", at=now())
    rows.charge(past[0], outcome=None, cost_nano=None, settled_at=None, server="http://127.0.0.1:1", pool="empty")
    async with bench(
        [programs.app], temporal=temporal_address, database_url=sqlite_url, engine=None, workers=False
    ) as here:
        await rows.add(here.database)
        made = await here.runs.quotes.quote(subject())
    assert made.waiting is not None
    (load,) = made.waiting.pools
    assert (load.queued, load.waiting, load.running, load.wait) == (0, None, 1, timedelta(0))
    assert engine_queue("empty") in made.waiting.unattended


@pytest.fixture
async def engine() -> AsyncIterator[ScriptedEngine]:
    async with scripted_engine(echo) as made:
        yield made


@pytest.fixture
async def here(temporal_address: str, sqlite_url: str, engine: ScriptedEngine) -> AsyncIterator[Bench]:
    async with bench([programs.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as made:
        yield made


async def test_the_api_quotes_and_says_when_it_cannot(here: Bench) -> None:
    await here.run("thrifty", 1)
    run = await here.run("think", "Hello.")
    api = create_api(here.runs, settings=here.settings)
    async with serving(api, "127.0.0.1", 0) as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
        got = await http.get("/v1/quotes", params={"workflow": "think"})
        posted = await http.post("/v1/quotes", json={"workflow": "think", "input": "Hello there."})
        bounded = await http.get("/v1/quotes", params={"workflow": "thrifty"})
        never = await http.get("/v1/quotes", params={"workflow": "converse"})
        unknown = await http.get("/v1/quotes", params={"workflow": "thimk"})
        unfit = await http.post("/v1/quotes", json={"workflow": "think", "input": 3})
        odd = await http.post("/v1/quotes", json={"workflow": "think", "inputs": "Hello."})
    quote = Quote.model_validate_json(got.content)
    assert quote.cost is not None
    assert (quote.basis, quote.runs, quote.cost.p50) == (Basis.OWN_VERSION, 1, run.receipt.cost)
    assert got.json()["cost"]["p50"] == f"{run.receipt.cost:f}"
    assert posted.json()["input"]["bytes"] == len('"Hello there."')
    assert posted.json()["input"]["scaled"] == []
    assert bounded.json()["at_most"]["usd"] == "0.000010"
    problem = never.json()
    assert (never.status_code, problem["type"], problem["basis"]) == (404, "/problems/no-history", "none")
    assert (unknown.status_code, unknown.json()["type"]) == (404, "/problems/unknown-name")
    assert "did you mean 'think'?" in unknown.json()["detail"]
    assert (unfit.status_code, unfit.json()["type"]) == (422, "/problems/invalid-input")
    assert (odd.status_code, "inputs" in odd.json()["detail"]) == (422, True)
