"""`ctx.map`: results in the order of the items, a bounded number at a time, and one failure ends the rest."""

from pydantic import JsonValue

from orchestrator.steps import RunStatus
from orchestrator.testing import Fail, Say, scripted_engine
from orchestrator.testing.replies import Reply
from orchestrator.testing.requests import ScriptedRequest
from tests.bench import bench
from tests.programs import thoughts

NAMES = [f"item {number}" for number in range(7)]


def _named(request: ScriptedRequest) -> str:
    return request.messages[0].text


async def test_in_their_order(temporal_address: str, sqlite_url: str) -> None:
    def script(request: ScriptedRequest) -> Reply:
        return Say(_named(request), tokens_per_second=10 + 90 * (request.number % 2))

    async with (
        scripted_engine(script) as engine,
        bench([thoughts.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("mapped", {"names": list[JsonValue](NAMES), "parallel": 3})
        assert run.result == NAMES
        began = sorted((record.started, 1) for record in engine.requests)
        ended = sorted((record.finished, -1) for record in engine.requests if record.finished)
        at_once, most = 0, 0
        for _, step in sorted([*began, *ended]):
            at_once += step
            most = max(most, at_once)
        assert 1 < most <= 3


async def test_a_failure_ends_the_rest(temporal_address: str, sqlite_url: str) -> None:
    def script(request: ScriptedRequest) -> Reply:
        if _named(request) == "item 1":
            return Fail(status=400, message="not that one")
        return Say("word " * 400, tokens_per_second=20)

    async with (
        scripted_engine(script) as engine,
        bench([thoughts.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("mapped", {"names": list[JsonValue](NAMES), "parallel": 2})
        assert run.status is RunStatus.FAILED
        assert "not that one" in str(run.error)
        assert not [record for record in engine.requests if record.finish is None]
        assert len(engine.requests) < len(NAMES)


async def test_none_at_a_time_is_refused(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine([]) as engine,
        bench([thoughts.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("mapped", {"names": list[JsonValue](NAMES), "parallel": 0})
        assert run.status is RunStatus.FAILED
        assert "parallel is 0. Give 1 or more." in str(run.error)
