"""What is wrong with a server, or with a call of its tools, is said where it is written."""

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from orchestrator import MCPServer, Orchestrator, ServerTools
from orchestrator.errors import DefinitionError, InvalidInput, UnknownName
from orchestrator.toolservers import ListedTool, ToolListing
from tests.bench import bench
from tests.mcp import program

ROOT = Path(__file__).parents[2]
RUN = ("python", "server.py")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MCPServer("t"), "it has neither a command nor a url"),
        (lambda: MCPServer("t", command=RUN, url="http://x/mcp"), "it has both a command and a url"),
        (lambda: MCPServer("t", command="python server.py"), "Write command=('python', 'server.py')"),
        (lambda: MCPServer("t", command=()), "is no list of words"),
        (lambda: MCPServer("t", url="x.example/mcp"), "its url 'x.example/mcp' isn't one"),
        (lambda: MCPServer("t", command=RUN, headers={"Authorization": "x"}), "a program gets no headers"),
        (lambda: MCPServer("t", url="http://x/mcp", env={"TOKEN": "x"}), "a service has no env"),
        (lambda: MCPServer("My_Tickets", command=RUN), "Use up to 32 lower-case letters, digits and dashes"),
        (lambda: MCPServer("t", command=RUN, effect="delete"), "the effect is 'delete'"),  # pyright: ignore[reportArgumentType]
        (lambda: MCPServer("t", command=RUN, effects={"a": "x"}), "the effect of 'a' is 'x'"),  # pyright: ignore[reportArgumentType]
        (lambda: MCPServer("t", command=RUN, approval="maybe"), "its approval is 'maybe'"),  # pyright: ignore[reportArgumentType]
        (lambda: MCPServer("t", command=RUN, include=["a"], exclude=["b"]), "it has both include and exclude"),
        (lambda: MCPServer("t", command=RUN, include="find"), "Give their names as a list"),
        (lambda: MCPServer("t", command=RUN, timeout=timedelta(0)), "Give timeout=timedelta(...)"),
        (lambda: MCPServer("t", command=RUN, start_timeout=timedelta(-1)), "Give start_timeout=timedelta(...)"),
        (lambda: MCPServer("t", command=RUN, price=Decimal(-1)), "is no amount of US dollars"),
        (lambda: Orchestrator("a", servers=[MCPServer("t", command=RUN)] * 2), "Orchestrator('a') has one already"),
    ],
)
def test_a_server(make: Callable[[], object], words: str) -> None:
    with pytest.raises(DefinitionError, match="tool server") as caught:
        make()
    assert words in str(caught.value)


def test_what_it_is_given_is_not_shown() -> None:
    server = MCPServer("t", url="https://u:pass@x.example/mcp?key=key", headers={"Authorization": SecretStr("bearer")})
    assert "bearer" not in repr(server)
    assert server.address == "https://x.example/mcp"


def _tools(**more: Any) -> ServerTools:
    server = MCPServer("t", command=RUN, **more)
    listed = [
        ListedTool(name=name, offered=f"t_{name}", description="", parameters={"type": "object"}, effect="read")
        for name in ("find", "create")
    ]
    return ServerTools.of(server, ToolListing(tools=tuple(listed)))


def test_a_tool_is_found_by_either_name() -> None:
    tools = _tools()
    assert tools.named("find") is tools.named("t_find") is tools[0]
    with pytest.raises(UnknownName, match="did you mean 'create'"):
        tools.named("creat")


def test_arguments_are_given_by_name_and_are_json() -> None:
    tool = _tools()[0]
    assert tool.bind(number=1, words=["a"]) == '{"number":1,"words":["a"]}'
    with pytest.raises(InvalidInput, match="give its arguments by name"):
        tool.bind(1)
    with pytest.raises(InvalidInput, match="'t_find'"):
        tool.bind(number=object())
    assert tool.parse('{"number": 1}') == {"number": 1}
    for text in ("[]", "{"):
        with pytest.raises(InvalidInput, match="'t_find'"):
            tool.parse(text)


async def test_a_server_that_the_app_does_not_have(temporal_address: str, sqlite_url: str) -> None:
    async with bench([program.app], temporal=temporal_address, database_url=sqlite_url, engine=None) as here:
        run = await here.run("names", "tickits")
        assert run.error is not None
        assert run.error.type == "UnknownName"
        assert run.error.message == "no tool server is called 'tickits': did you mean 'tickets'?"


WITHOUT = """
import sys
sys.modules["mcp"] = None  # as where the extra isn't installed

import anyio
from orchestrator.errors import ConfigurationError
from orchestrator.settings import DatabaseSettings, Settings
from orchestrator.worker import Role, running_workers
from tests.mcp.program import app

async def main():
    settings = Settings(database=DatabaseSettings(url={database!r}))
    try:
        async with running_workers([app], settings, address={temporal!r}, roles=[Role.TOOLS]):
            print("running")
    except ConfigurationError as error:
        print(error)

anyio.run(main)
"""


async def test_without_the_extra_the_worker_says_what_to_install(temporal_address: str, sqlite_url: str) -> None:
    code = WITHOUT.format(database=sqlite_url, temporal=temporal_address)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)  # noqa: ASYNC221
    assert "app 'tickets' has the tool server 'tickets', and nothing here speaks its protocol" in run.stdout
    assert "Install 'reasoning-orchestrator[mcp]'." in run.stdout
