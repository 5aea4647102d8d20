import importlib
import sys
from collections.abc import Iterator

import pytest

from orchestrator import Orchestrator
from orchestrator.steps import RunStatus
from orchestrator.testing import CallTool, Say, scripted_engine
from orchestrator_retrieval import CollectionRetriever, Collections
from tests.bench import bench, result_of
from tests.examples.conftest import SUPPORT

QUESTION = "When do I get my money back?"


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[Orchestrator]:
    """The example's app, imported by name: Temporal's sandbox imports it again."""
    monkeypatch.setattr(sys, "path", [str(SUPPORT), *sys.path])
    yield importlib.import_module("support").app
    del sys.modules["support"]


async def test_the_sources_are_passages_of_the_handbook(
    app: Orchestrator,
    temporal_address: str,
    sqlite_url: str,
    handbook: Collections,
    retriever: CollectionRetriever,
) -> None:
    found = (await retriever.search("default", "handbook", QUESTION, k=2)).passages
    assert found[0].document == "handbook/refunds.md"
    async with (
        scripted_engine([Say("Within five working days.")]) as engine,
        bench([app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("answer", QUESTION)
        assert run.status is RunStatus.COMPLETED, run.error
        assert run.result == {"text": "Within five working days.", "sources": [passage.id for passage in found]}
        assert all(passage.text.strip() in engine.requests[0].prompt for passage in found)
        assert engine.requests[0].request.last_message == QUESTION


async def test_the_model_can_look_up_an_order(
    app: Orchestrator, temporal_address: str, sqlite_url: str, handbook: Collections
) -> None:
    async with (
        scripted_engine([CallTool("find_order", order_id="A-1001"), Say("It left on Monday.")]) as engine,
        bench([app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("answer", "Where is my order A-1001?")
        assert result_of(run)["text"] == "It left on Monday."
        assert "find_order" in engine.requests[0].prompt
        assert engine.requests[1].request.last_message == "shipped on Monday"
        assert [line.name for line in run.bill if line.kind == "tool"] == ["find_order"]


async def test_without_its_handbook_it_says_so(app: Orchestrator, temporal_address: str, sqlite_url: str) -> None:
    async with bench([app], temporal=temporal_address, database_url=sqlite_url, engine=None) as here:
        run = await here.run("answer", QUESTION)
        assert run.error is not None
        assert run.error.type == "UnknownName"
        assert "handbook" in run.error.message
