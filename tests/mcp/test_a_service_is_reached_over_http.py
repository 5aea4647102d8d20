"""MCP over streamable HTTP: runs, secrets in headers, and services that are restarted or refuse."""

import importlib
from collections.abc import Callable, Mapping

import pytest
from pydantic import SecretStr

from orchestrator import FromEnvironment, MCPServer
from orchestrator.errors import ToolServerFailed
from orchestrator.mcp import CallFailed, Connection
from orchestrator.toolservers import Secret
from tests.bench import bench, result_of
from tests.mcp.conftest import TOKEN
from tests.mcp.service import service

AUTHORIZED: Mapping[str, Secret] = {"Authorization": SecretStr(f"Bearer {TOKEN}")}


async def test_a_run_calls_its_tools_and_its_secrets_stay_out_of_the_history(
    temporal_address: str, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with service() as tickets:
        monkeypatch.setenv("TICKETS_URL", tickets.url)
        program_http = importlib.import_module("tests.mcp.program_http")
        async with bench([program_http.app], temporal=temporal_address, database_url=sqlite_url, engine=None) as here:
            run_id = await here.start("find", {"number": 5})
            assert result_of(await here.runs.wait(run_id))["title"] == "ticket 5"
            history = await here.client.get_workflow_handle(run_id).fetch_history()
            assert TOKEN not in history.to_json()
            assert [row.name for row in await here.charges()] == ["service.list_tools", "service.find"]


@pytest.mark.parametrize("legacy", [False, True])
async def test_one_that_was_restarted_is_asked_again_and_once(legacy: bool, done: Callable[[str], int]) -> None:
    async with service(legacy=legacy) as tickets:
        connection = Connection(MCPServer("service", url=tickets.url, headers=AUTHORIZED), taken=())
        await connection.listing()
        assert ("initialize" in tickets.methods) is legacy
    try:
        async with service(legacy=legacy, port=int(tickets.url.rpartition(":")[2].partition("/")[0])):
            ticket = {"number": 1, "title": "x"}
            answer = await connection.call("create", {"ticket": ticket}, key="k1")
            assert answer.text == "created 'x' under the key k1"
            assert done("created") == 1
    finally:
        await connection.aclose()


async def test_one_that_forgot_the_session_says_again_what_tools_it_has() -> None:
    async with service(legacy=True) as tickets:
        connection = Connection(MCPServer("service", url=tickets.url, headers=AUTHORIZED), taken=())
        listing = await connection.listing()
    try:
        async with service(legacy=True, port=int(tickets.url.rpartition(":")[2].partition("/")[0])):
            assert await connection.listing() == listing
    finally:
        await connection.aclose()


async def test_one_that_went_away_is_a_call_that_fails() -> None:
    async with service() as tickets:
        connection = Connection(MCPServer("service", url=tickets.url, headers=AUTHORIZED), taken=())
        await connection.listing()
    try:
        with pytest.raises(CallFailed, match="it ended in the middle of the call"):
            await connection.call("find", {"number": 1}, key="k1")
        with pytest.raises(ToolServerFailed, match="it can't be reached"):
            await connection.call("find", {"number": 1}, key="k1")
    finally:
        await connection.aclose()


@pytest.mark.parametrize("value", ["Bearer wrong", SecretStr("Bearer wrong"), FromEnvironment("TICKETS_FOLDER")])
async def test_one_that_refuses_is_named_with_the_status(value: Secret) -> None:
    async with service() as tickets:
        server = MCPServer("service", url=tickets.url, headers={"Authorization": value})
        connection = Connection(server, taken=())
        with pytest.raises(ToolServerFailed) as caught:
            await connection.listing()
        await connection.aclose()
    assert f"tool server 'service' ({tickets.url}) failed: it can't be reached" in str(caught.value)
    assert "(HTTP 401 Unauthorized)" in str(caught.value)
