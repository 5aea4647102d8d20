"""What a worker said last before it was killed is what its attempt is billed for, and never nothing at all."""

import dataclasses
from collections.abc import Sequence

import pytest
from temporalio import activity
from temporalio.testing import ActivityEnvironment

from orchestrator import Usage
from orchestrator.activities import EngineActivities, Meter
from orchestrator.database import Database
from orchestrator.engine import SGLang
from orchestrator.ledger import Attempt, Bound, PriceBook
from orchestrator.messages import UserMessage
from orchestrator.settings import PriceSettings
from orchestrator.steps import GenerateRequest, Sampling
from orchestrator.testing import Say, scripted_engine
from orchestrator.transcripts import TranscriptStore
from tests.ledger.books import ENGINE_CALL, Books

SAID_NOTHING = Usage().model_dump(mode="json")
SAID_SOME = Usage(prompt=9, cached=4, output=5).model_dump(mode="json")


def _key(info: activity.Info, *, attempt: int) -> Attempt:
    return Attempt(
        workflow_id=info.workflow_id or "",
        run_id=info.workflow_run_id or "",
        activity_id=info.activity_id,
        attempt=attempt,
    )


@pytest.mark.parametrize(
    ("heartbeat", "output"),
    [([], None), ([SAID_NOTHING], None), ([SAID_SOME], 5)],
    ids=["before the first heartbeat", "before the first token", "in mid-answer"],
)
async def test_the_next_attempt_bills_it(database: Database, heartbeat: Sequence[object], output: int | None) -> None:
    books = Books.of_a_new_run(database)
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, attempt=2, heartbeat_details=heartbeat)
    key = _key(environment.info, attempt=1)
    await books.ledger.reserve(key, books.scope, ENGINE_CALL, bound=Bound(tokens=99, calls=1))
    async with scripted_engine([Say("here")]) as scripted, SGLang.open(scripted.url) as engine:
        activities = EngineActivities(
            engine=engine,
            info=await engine.describe(),
            pool="default",
            transcripts=TranscriptStore(database),
            prices=PriceBook(database, PriceSettings()),
            meter=Meter(database, books.ledger),
        )
        request = GenerateRequest(
            scope=books.scope,
            transcript=None,
            append=(UserMessage(content="Are you there?"),),
            sampling=Sampling(max_tokens=64),
        )
        result = await environment.run(activities.generate, request)
        prompt = scripted.requests[0].request.prompt_tokens
    assert result.text == "here"
    died, answered = await books.rows()
    assert (died.outcome, died.estimated, answered.outcome, answered.estimated) == ("retried", True, "used", False)
    assert died.prompt_tokens == (prompt if output is None else 9)
    assert died.output_tokens == output
    assert (result.receipt.attempts, result.receipt.estimated) == (2, True)
    await books.check()
