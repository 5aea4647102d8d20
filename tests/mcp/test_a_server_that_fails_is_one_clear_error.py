"""Servers that crash, hang, or can't be started: a step that fails cleanly, and the next one finds a server again."""

import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator import FromEnvironment, MCPServer
from orchestrator.errors import ConfigurationError, OrchestratorError, ToolServerFailed, ToolServerUnusable
from orchestrator.mcp import Connection
from orchestrator.steps import RunStatus
from orchestrator.testing import CallTool, Say, scripted_engine
from tests.bench import bench
from tests.eventually import eventually
from tests.mcp import program
from tests.mcp.conftest import TOKEN, is_alive
from tests.mcp.program import ENVIRONMENT, TICKETS


async def test_a_read_is_tried_again_with_a_new_server(
    temporal_address: str, sqlite_url: str, done: Callable[[str], int]
) -> None:
    script = [CallTool("tickets_crash", times=1), Say("It lives.")]
    async with (
        scripted_engine(script) as engine,
        bench([program.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        assert (await here.run("help_out", "Crash.")).result == "It lives."
        assert engine.requests[1].request.last_message == "survived"
        assert done("crashed") == 2
        rows = [(row.name, row.outcome, row.cost_nano) for row in await here.charges() if row.kind == "tool"]
        assert rows[1:] == [("tickets.crash", "retried", 3_000_000), ("tickets.crash", "used", 3_000_000)]


async def test_a_write_is_tried_once(temporal_address: str, sqlite_url: str, done: Callable[[str], int]) -> None:
    async with bench([program.app], temporal=temporal_address, database_url=sqlite_url, engine=None) as here:
        run = await here.run("call", {"server": "wary", "tool": "crash", "arguments": {"times": 9}})
        assert run.error is not None
        assert run.error.type == "ToolFailed"
        for words in ("tool 'wary_crash' failed", "in the middle of the call", "are on fire", "(exit code 3)"):
            assert words in run.error.message
        assert done("crashed") == 1
        assert [row.outcome for row in await here.charges()] == ["used", "failed"]


async def test_what_a_tool_says_is_wrong_ends_a_call_of_the_run_at_once(
    temporal_address: str, sqlite_url: str, done: Callable[[str], int]
) -> None:
    async with bench([program.app], temporal=temporal_address, database_url=sqlite_url, engine=None) as here:
        failed = await here.run("call", {"tool": "fail"})
        assert failed.error is not None
        assert failed.error.type == "ToolReportedFailure"
        assert failed.error.message.endswith("Error executing tool fail: there is no such ticket")
        assert done("failed") == 1
        large = await here.run("call", {"tool": "huge", "arguments": {"size": 20_001}})
        assert large.error is not None
        assert large.error.type == "ToolResultTooLarge"
        outcomes = [(row.name, row.outcome) for row in await here.charges()]
        assert outcomes[1::2] == [("tickets.fail", "failed"), ("tickets.huge", "failed")]


async def test_one_that_died_between_calls_is_started_again_even_for_a_write(
    temporal_address: str, sqlite_url: str, alive: Callable[[], list[int]], done: Callable[[str], int]
) -> None:
    async with bench([program.app], temporal=temporal_address, database_url=sqlite_url, engine=None) as here:
        await here.run("names", "tickets")
        (pid,) = alive()
        os.kill(pid, signal.SIGKILL)

        async def dead() -> bool:
            return not is_alive(pid)

        await eventually(dead)
        run = await here.run("call", {"tool": "create", "arguments": {"ticket": {"number": 1, "title": "x"}}})
        assert run.status is RunStatus.COMPLETED
        assert done("created") == 1
        assert done("pids") == 2


async def test_a_call_that_takes_too_long_fails_alone(
    temporal_address: str, sqlite_url: str, done: Callable[[str], int]
) -> None:
    async with bench([program.app], temporal=temporal_address, database_url=sqlite_url, engine=None) as here:
        # Longer than Temporal's patience with a worker that says nothing.
        long = await here.start("call", {"tool": "slow", "arguments": {"seconds": 5}})

        async def begun() -> bool:
            return done("slow") == 1

        await eventually(begun)
        run = await here.run("call", {"server": "hasty", "tool": "slow", "arguments": {"seconds": 60}})
        assert run.error is not None
        assert run.error.type == "ToolTimedOut"
        assert run.error.message.endswith("within 1 s; make it faster, or raise MCPServer(timeout=...)")
        assert done("slow") == 4
        assert done("pids") == 2  # it answered meanwhile, so it was left alone
        assert (await here.runs.wait(long)).result == {"result": "at last"}
        assert done("slow") == 4


async def test_a_server_that_hangs_is_replaced(alive: Callable[[], list[int]], done: Callable[[str], int]) -> None:
    hasty = MCPServer("hasty", command=TICKETS, env=ENVIRONMENT, timeout=timedelta(seconds=2))
    connection = Connection(hasty, taken=())
    try:
        with pytest.raises(TimeoutError):
            await connection.call("stuck", {}, key="k1")
        answer = await connection.call("find", {"number": 3}, key="k2")
        assert answer.value == {"number": 3, "title": "ticket 3", "parent": None}
        assert done("stuck") == 1
        assert done("pids") == 2
    finally:
        await connection.aclose()
    assert alive() == []


async def test_a_run_is_told_why_there_is_no_server(temporal_address: str, sqlite_url: str) -> None:
    async with bench([program.app], temporal=temporal_address, database_url=sqlite_url, engine=None) as here:
        run = await here.run("names", "missing")
        assert run.error is not None
        assert run.error.type == "ToolServerFailed"
        assert "(tests/mcp/no-such-program --fast) failed: it can't be started" in run.error.message
        assert "No such file or directory" in run.error.message
        assert [row.outcome for row in await here.charges()] == ["retried", "retried", "failed"]


async def _failure(server: MCPServer) -> OrchestratorError:
    connection = Connection(server, taken=())
    try:
        with pytest.raises(OrchestratorError) as caught:
            await connection.listing()
    finally:
        await connection.aclose()
    return caught.value


async def test_one_that_ends_at_once_is_quoted_without_its_secrets(folder: Path) -> None:
    (folder / "refuse").touch()
    error = await _failure(MCPServer("tickets", command=TICKETS, env=ENVIRONMENT))
    assert isinstance(error, ToolServerFailed)
    assert error.retryable
    assert "tests/mcp/tickets.py) failed: it can't be started" in str(error)
    assert error.said.splitlines()[0] == "no database at ***"
    assert TOKEN not in str(vars(error))


async def test_one_that_never_answers_is_given_up(folder: Path, alive: Callable[[], list[int]]) -> None:
    (folder / "mute").touch()
    error = await _failure(MCPServer("tickets", command=TICKETS, env=ENVIRONMENT, start_timeout=timedelta(seconds=2.5)))
    assert "it can't be started (it didn't answer within 2.5 s; raise MCPServer(start_timeout=...)" in str(error)
    assert alive() == []


async def test_one_that_needs_what_is_not_set() -> None:
    needy = MCPServer("needy", command=TICKETS, env={"TICKETS_FOLDER": FromEnvironment("TICKETS_NOWHERE")})
    error = await _failure(needy)
    assert isinstance(error, ConfigurationError)
    assert "TICKETS_NOWHERE isn't set, which tool server 'needy' needs" in str(error)


async def test_a_service_that_nobody_runs_is_named_without_its_secrets() -> None:
    error = await _failure(MCPServer("nobody", url="http://user:secret@127.0.0.1:9/mcp?key=secret"))
    assert isinstance(error, ToolServerFailed)
    assert "tool server 'nobody' (http://127.0.0.1:9/mcp) failed: it can't be reached" in str(error)
    assert "secret" not in str(vars(error))


async def test_a_tool_that_the_app_names_and_the_server_lacks() -> None:
    error = await _failure(MCPServer("misspelt", command=TICKETS, env=ENVIRONMENT, include=["creat"]))
    assert isinstance(error, ToolServerUnusable)
    assert "it has no tool 'creat' (did you mean 'create'?)" in str(error)
