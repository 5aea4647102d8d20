"""Activities outside a worker, and waiting for others' locks."""

import dataclasses
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from anyio import fail_after
from sqlalchemy import text
from temporalio.testing import ActivityEnvironment

from orchestrator.activities import EngineActivities, Meter
from orchestrator.database import Database
from orchestrator.engine import SGLang
from orchestrator.ledger import PriceBook
from orchestrator.messages import UserMessage
from orchestrator.settings import PriceSettings
from orchestrator.steps import GenerateRequest, Sampling
from orchestrator.testing import Script, ScriptedEngine, scripted_engine
from orchestrator.transcripts import TranscriptStore
from tests.ledger.books import Books

__all__ = ["PRICES", "engine_activities", "environment", "question", "scripted_activities", "until_somebody_waits"]

PRICES = PriceSettings.model_validate({"input": "2", "cached_input": "0.2", "output": "8"})
"""Those of `tests.ledger.books.PRICE`: dollars for a million tokens."""


def environment(
    books: Books, step: int = 1, attempt: int = 1, *, heartbeat: Sequence[object] = (), **more: Any
) -> ActivityEnvironment:
    """Where an attempt of a step runs."""
    here = ActivityEnvironment()
    here.info = dataclasses.replace(
        here.info,
        workflow_id=books.scope.workflow_id,
        workflow_run_id=books.scope.run,
        activity_id=str(step),
        attempt=attempt,
        heartbeat_details=heartbeat,
        **more,
    )
    return here


def question(books: Books, **more: Any) -> GenerateRequest:
    asked = (UserMessage(content="Are you there?"),)
    return GenerateRequest(
        scope=books.scope, transcript=None, append=asked, sampling=Sampling(max_tokens=64), **more
    )  # fmt: skip


async def engine_activities(books: Books, engine: SGLang) -> EngineActivities:
    """Those of an engine, which write these books."""
    return EngineActivities(
        engine=engine,
        info=await engine.describe(),
        pool="default",
        transcripts=TranscriptStore(books.database),
        prices=PriceBook(books.database, PRICES),
        meter=Meter(books.database, books.ledger),
    )


@asynccontextmanager
async def scripted_activities(books: Books, script: Script) -> AsyncGenerator[tuple[EngineActivities, ScriptedEngine]]:
    """Those of an engine that says what is written."""
    async with scripted_engine(script) as scripted, SGLang.open(scripted.url) as engine:
        yield await engine_activities(books, engine), scripted


async def until_somebody_waits(database: Database, *, at_least: int = 1) -> None:
    """For a lock, on PostgreSQL."""
    waiting = text(
        "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) "
        "WHERE NOT granted AND datname = current_database()"
    )
    with fail_after(20):
        while True:
            async with database.read() as connection:
                if (await connection.execute(waiting)).scalar_one() >= at_least:
                    return
