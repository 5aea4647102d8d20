"""Whatever goes wrong in a run ends it once, and says what to do."""

import pytest
from pydantic import JsonValue

from orchestrator.errors import InvalidInput, UnknownName
from orchestrator.steps import RunStatus
from orchestrator.testing import CallTool, Say, scripted_engine
from tests.bench import bench
from tests.programs import programs


@pytest.mark.parametrize(
    ("workflow", "value", "kind", "words"),
    [
        ("unserializable_result", "x", "OutputNotSerializable", "return a pydantic model"),
        ("enormous_result", 3_000_000, "OutputTooLarge", "return a reference"),
        ("buggy", "b", "KeyError", "'b'"),
        ("nobodys_tool", "x", "DefinitionError", "hand it to Orchestrator(tools=[...])"),
        ("call_one", "broken", "ToolFailed", "the disk is on fire"),
        ("call_one", "hanging", "ToolTimedOut", "raise @app.tool(timeout=...)"),
        ("call_one", "huge", "ToolResultTooLarge", "10,000,000 bytes"),
        ("call_one", "unserializable", "OutputNotSerializable", "tool 'unserializable'"),
        ("look_up", "hanbook", "UnknownName", "collection"),
    ],
)
async def test_in_the_run(
    temporal_address: str, sqlite_url: str, workflow: str, value: JsonValue, kind: str, words: str
) -> None:
    async with bench([programs.app], temporal=temporal_address, database_url=sqlite_url, engine=None) as here:
        run = await here.run(workflow, value)
        assert run.status is RunStatus.FAILED
        assert run.error is not None
        assert run.error.type == kind
        assert words in run.error.message


async def test_in_the_request(temporal_address: str, sqlite_url: str) -> None:
    async with bench([programs.app], temporal=temporal_address, database_url=sqlite_url, engine=None) as here:
        with pytest.raises(UnknownName, match="did you mean 'tool_loop'"):
            await here.start("tool_lop", {})
        with pytest.raises(InvalidInput, match="steps"):
            await here.start("tool_loop", {"steps": "many"})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (CallTool("broken"), "error: tool 'broken' failed: RuntimeError: the disk is on fire"),
        (CallTool("hanging"), "it didn't return within 1 s"),
        (CallTool("huge"), "it returned 10,000,000 bytes"),
        (CallTool("read_pag", number=1), "no tool is called 'read_pag': did you mean 'read_page'?"),
        (CallTool("read_page", number="seven"), "number: Input should be a valid integer"),
        (CallTool("read_page"), "number: Field required"),
    ],
)
async def test_in_a_tool_call_it_is_the_models_to_read(
    temporal_address: str, sqlite_url: str, call: CallTool, words: str
) -> None:
    async with (
        scripted_engine([call, Say(json={"name": "sorry", "value": 0})]) as engine,
        bench([programs.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("state_fact_with_tools", "Tell me.")
        assert run.status is RunStatus.COMPLETED
        assert words in engine.requests[1].request.last_message


async def test_a_reply_that_breaks_the_schema_is_sent_back(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine([Say('{"name": "sky"}'), Say(json={"name": "sky", "value": 3})]) as engine,
        bench([programs.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("state_fact", "What is it?")
        assert run.result == {"name": "sky", "value": 3}
        assert "value: Field required" in engine.requests[1].request.last_message


async def test_a_reply_that_never_fits_ends_the_run(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine(lambda _: Say("no JSON at all")) as engine,
        bench([programs.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("state_fact", "What is it?")
        assert run.error is not None
        assert run.error.type == "OutputInvalid"
        assert "after 3 attempts" in run.error.message
        assert "no JSON at all" in run.error.message


async def test_a_write_is_tried_once(temporal_address: str, sqlite_url: str) -> None:
    async with bench([programs.app], temporal=temporal_address, database_url=sqlite_url, engine=None) as here:
        assert (await here.run("call_one", "write_once")).status is RunStatus.COMPLETED
        assert programs.write_once.attempts == 1
        assert programs.read_page.attempts > 1
