"""A reply that can be had again is kept, where that is wanted: no engine is asked, and the bill says so exactly."""

from collections.abc import Mapping
from decimal import Decimal

import pytest
from pydantic import JsonValue

from orchestrator import Receipt, Usage
from orchestrator.steps import RunStatus
from orchestrator.testing import CallTool, Reply, Say, ScriptedRequest, scripted_engine
from orchestrator.usage import Savings
from tests.bench import Bench, bench, result_of
from tests.caches import program

Ask = Mapping[str, JsonValue]


def numbered(request: ScriptedRequest) -> Reply:
    """No two replies are alike."""
    return Say(f"This is reply {request.number}.")


async def _texts(here: Bench, workflow: str, *asks: Ask) -> list[str]:
    runs = [await here.run(workflow, dict(ask)) for ask in asks]
    return [text for run in runs for text in result_of(run)["results"]]


async def test_it_costs_nothing_and_says_what_that_saved(temporal_address: str, database_url: str) -> None:
    async with (
        scripted_engine(numbered) as engine,
        bench([program.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
    ):
        first = await here.run("asked", {})
        again = await here.run("asked", {})
        rows, totals = await here.charges(), await here.totals()
        served = engine.served
    assert len(engine.requests) == 1
    assert result_of(first)["results"] == result_of(again)["results"] == ["This is reply 1."]
    total = first.receipt.usage.total
    assert total == served.prompt_tokens + served.output_tokens
    assert (first.receipt.saved, again.receipt.usage, again.receipt.cost) == (Savings(), Usage(), 0)
    assert again.receipt.saved == Savings(results=1, usd=first.receipt.cost, tokens=total)
    assert Receipt.model_validate(result_of(again)["receipt"]) == again.receipt
    assert [(row.kind, row.name, row.pool, row.server, row.rid, row.price_source) for row in rows[1:]] == [
        ("generate", "scripted", "default", None, None, "cache")
    ]
    assert [(account.spent_nano, account.spent_tokens, account.calls) for account in totals] == [
        (int(first.receipt.cost.scaleb(9)), total, 1),
        (0, 0, 0),
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "What is red?"},
        {"max_tokens": 31},
        {"seed": 1},
        {"temperature": 0.7, "seed": 1},
        {"seconds": 0},
    ],
    ids=str,
)
async def test_another_question_is_asked(temporal_address: str, sqlite_url: str, other: Ask) -> None:
    async with (
        scripted_engine(numbered) as engine,
        bench([program.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        assert await _texts(here, "asked", {}, other) == ["This is reply 1.", "This is reply 2."]


async def test_another_tenants_question_is_asked(temporal_address: str, database_url: str) -> None:
    async with (
        scripted_engine(numbered) as engine,
        bench([program.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
    ):
        await here.run("asked", {})
        other = await here.runs.wait(await here.runs.start("asked", {}, tenant="another"))
    assert result_of(other)["results"] == ["This is reply 2."]


async def test_a_reply_that_is_drawn_is_the_same_only_by_its_seed(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine(numbered) as engine,
        bench([program.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        seeded = await _texts(
            here, "kept", *({"temperature": 0.7, "seed": seed, "seconds": None} for seed in (1, 2, 1))
        )
        drawn = await _texts(here, "kept", *[{"temperature": 0.7, "seconds": None}] * 2)
    assert seeded == ["This is reply 1.", "This is reply 2.", "This is reply 1."]
    assert drawn == ["This is reply 3.", "This is reply 4."]


async def test_what_is_drawn_anew_each_time_can_not_be_kept(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine(numbered) as engine,
        bench([program.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("asked", {"temperature": 0.7})
    assert run.status is RunStatus.FAILED
    assert run.error is not None
    assert run.error.type == "DefinitionError"
    assert "Give temperature=0 or a seed, or leave cache out" in run.error.message


async def test_only_where_the_code_says_so(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine(numbered) as engine,
        bench([program.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        assert len(set(await _texts(here, "asked", *[{"seconds": None}] * 2))) == 2
        assert len(set(await _texts(here, "kept", *[{"seconds": None}] * 2))) == 1
        assert len(set(await _texts(here, "kept", *[{"seconds": 0}] * 2))) == 2


async def test_a_budget_counts_no_call_that_was_not_made(temporal_address: str, database_url: str) -> None:
    async with (
        scripted_engine(numbered) as engine,
        bench([program.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
    ):
        run = await here.run("bounded", {"seconds": None, "times": 3})
        other = await here.run("bounded", {"prompt": "Another?", "seconds": 0, "times": 2})
    assert run.status is RunStatus.COMPLETED
    assert result_of(run)["results"] == ["This is reply 1."] * 3
    assert run.receipt.saved.results == 2
    assert (other.status, other.error and other.error.type) == (RunStatus.FAILED, "BudgetExceeded")


async def test_a_conversation_goes_on_from_it_as_from_any_other(temporal_address: str, database_url: str) -> None:
    def script(request: ScriptedRequest) -> Reply:
        if "Go on" in request.last_message:
            return CallTool("page", number=request.step)
        return Say(f"I read: {request.last_message[:40]}")

    async with (
        scripted_engine(script) as engine,
        bench([program.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
    ):
        first = await here.run("conversation", 2)
        asked = engine.requests
        again = await here.run("conversation", 2)
        assert len(engine.requests) == len(asked) == 4
        further = await here.run("conversation", 3)
        fifth, sixth = engine.requests[4:]
    assert result_of(again)["results"] == result_of(first)["results"]
    assert again.receipt.cost == 0
    assert again.receipt.saved == Savings(results=6, usd=first.receipt.cost, tokens=first.receipt.usage.total)
    # The prompt that follows a kept reply continues the engine's own tokens.
    before = [*asked[-1].prompt_ids, *asked[-1].output_ids]
    assert fifth.prompt_ids[: len(before)] == before
    assert sixth.prompt_ids[: len(before)] == before
    assert further.receipt.usage.total == sum(each.prompt_tokens + each.output_tokens for each in (fifth, sixth))


async def test_a_vote_with_a_seed_is_had_again_whole(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine(lambda request: Say(f"It is {40 + request.number % 2}.")) as engine,
        bench([program.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        runs = [await here.run("voted", 7) for _ in range(2)]
        drafts = len(engine.requests)
        unseeded = [await here.run("voted", None) for _ in range(2)]
    assert result_of(runs[0])["results"] == result_of(runs[1])["results"] == [41, 3]
    assert drafts == 3
    assert runs[1].receipt.cost == 0
    assert runs[1].receipt.saved.usd == runs[0].receipt.cost > Decimal(0)
    assert [run.receipt.saved for run in unseeded] == [Savings()] * 2
