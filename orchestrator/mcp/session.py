"""One session with a server: opened once, shared by all calls, never used again once anything is wrong with it."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from importlib.metadata import version
from typing import Any, cast

import anyio
import httpx2
from mcp import Client, MCPError
from mcp.client import Transport
from mcp.types import CONNECTION_CLOSED, CallToolResult, Implementation, RequestParamsMeta
from mcp.types import Tool as RemoteTool
from pydantic import ValidationError

from orchestrator.errors import ToolServerFailed
from orchestrator.mcp.schemas import problem_with
from orchestrator.mcp.secrets import Secrets
from orchestrator.mcp.stderr import Stderr
from orchestrator.mcp.transports import program, service
from orchestrator.toolservers import MCPServer

__all__ = ["CallFailed", "Session", "SessionLost"]

PRODUCT = "reasoning-orchestrator"
IDEMPOTENCY_KEY = f"{PRODUCT}/idempotency-key"
"""In a call's `_meta`: the same for every attempt of it."""
PROBE = timedelta(seconds=2)
"""How long a server that let a call time out has to show that it is alive."""
NOTICING = timedelta(seconds=0.5)
"""How long the end of a connection may take to be the end of its session."""
ENDING = timedelta(seconds=6)
"""How long the end of a session may take: the SDK gives a program two seconds three times."""
MOST_PAGES = 100
"""Of a list of tools."""
LONGEST_REASON = 1_000
"""Characters of what a server says is wrong."""
NOT_FOUND = 404
SESSION_ID = "mcp-session-id"
"""The header that names a session."""


class CallFailed(Exception):
    """The server ended in the middle of a call, or answered with what is no result."""


class SessionLost(Exception):
    """The session had ended before the call was made: it may be made in another one."""


class Session:
    """Opens at once, in a task of its own: the SDK's contexts must be left by the task that entered them."""

    def __init__(self, server: MCPServer, secrets: Secrets) -> None:
        self._server = server
        self._secrets = secrets
        self._stderr = Stderr(server.name, secrets.hidden)
        self._client: Client | None = None
        self._tools: dict[str, RemoteTool] = {}
        self._ended_by = ""
        self._status = ""
        self._forgotten = False
        self._opened = asyncio.Event()
        self._closing = asyncio.Event()
        self._owner = asyncio.create_task(self._own(), name=f"tool server {server.name}")

    @property
    def ended(self) -> bool:
        """Whether nothing more can be asked in it."""
        return self._closing.is_set() or self._owner.done()

    @property
    def gone(self) -> bool:
        """Whether nothing of it is left."""
        return self._owner.done()

    async def tools(self) -> Sequence[RemoteTool]:
        """What the server says now of its tools.

        Raises:
            SessionLost: the session had ended before.
            ToolServerFailed: it says nothing.
        """
        client = await self._ready()
        seconds = self._server.start_timeout.total_seconds()
        try:
            with anyio.fail_after(seconds):
                return await self._list(client)
        except TimeoutError as error:
            self._end(f"it didn't say within {seconds:g} s what tools it has")
            raise self._failure("it hangs") from error
        except (MCPError, ValidationError) as error:
            await self._notice(error)
            raise self._failure(f"it doesn't say what tools it has: {self._reason(error)}") from error

    async def problem_with(self, tool: str, arguments: Mapping[str, Any]) -> str | None:
        """Why a call can't be made, as far as the server's own schema says; `None` where it can.

        A server may have changed since it was asked, so it is asked again before a call is refused.

        Raises:
            SessionLost: the session had ended before.
            ToolServerFailed: it can't be asked.
        """
        await self._ready()
        if self._problem_with(tool, arguments) is None:
            return None
        await self.tools()
        return self._problem_with(tool, arguments)

    async def call(self, tool: str, arguments: Mapping[str, Any], *, key: str) -> CallToolResult:
        """One call.

        Args:
            key: names the call, the same for every attempt.

        Raises:
            SessionLost: the session had ended before.
            TimeoutError: it took too long.
            CallFailed: no result came.
            ToolServerFailed: the session can't be opened.
        """
        client = await self._ready()
        if self.ended:
            raise SessionLost
        try:
            with anyio.fail_after(self._server.timeout.total_seconds()):
                meta = cast("RequestParamsMeta", {IDEMPOTENCY_KEY: key})  # a TypedDict without the keys of others
                return await client.call_tool(tool, dict(arguments), meta=meta)
        except TimeoutError:
            await self._probe(client)
            raise
        except MCPError as error:
            await self._notice(error)
            if self.ended:
                raise CallFailed(str(self._failure("it ended in the middle of the call"))) from error
            raise CallFailed(self._reason(error)) from error
        except (RuntimeError, ValidationError) as error:  # a result that breaks the protocol, or the tool's own schema
            raise CallFailed(self._reason(error)) from error

    def close(self) -> None:
        """Ends the session; calls that are under way fail."""
        self._closing.set()

    async def closed(self) -> None:
        """Waits for the end of the session, and of the server's program."""
        await asyncio.wait([self._owner])

    async def _own(self) -> None:
        start = self._server.start_timeout.total_seconds()
        me = Implementation(name=PRODUCT, version=version(PRODUCT))
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + start) as opening:
                async with Client(self._transport(), client_info=me, cache=None) as client:
                    await self._list(client)
                    opening.deadline = math.inf
                    self._client = client
                    self._opened.set()
                    await self._closing.wait()
            if opening.cancelled_caught:
                self._ended_by = (
                    f"it didn't answer within {start:g} s; raise MCPServer(start_timeout=...) if it is slow"
                )
        except Exception as error:
            self._ended_by = self._reason(_first(error))
        finally:
            self._closing.set()
            self._opened.set()

    def _transport(self) -> Transport:
        if self._server.url is not None:
            return service(self._server.url, self._secrets, self._look)
        return program(self._server.command or (), self._secrets, self._stderr, on_end=self.close)

    async def _ready(self) -> Client:
        await self._opened.wait()
        if self._client is None:
            raise self._failure("it can't be started" if self._server.url is None else "it can't be reached")
        return self._client

    async def _list(self, client: Client) -> Sequence[RemoteTool]:
        tools: list[RemoteTool] = []
        cursor: str | None = None
        for _ in range(MOST_PAGES):
            page = await client.list_tools(cursor=cursor)
            tools += page.tools
            cursor = page.next_cursor
            if cursor is None:
                break
        self._tools = {tool.name: tool for tool in tools}
        return tools

    def _problem_with(self, tool: str, arguments: Mapping[str, Any]) -> str | None:
        if tool not in self._tools:
            return f"its server has no tool {tool!r} any more"
        return problem_with(arguments, self._tools[tool].input_schema)

    async def _probe(self, client: Client) -> None:
        """Ends the session if the server hangs: it would let every later call time out too."""
        try:
            with anyio.fail_after(PROBE.total_seconds()):
                await client.list_tools()
        except (MCPError, TimeoutError, ValidationError):
            self._end("it answered nothing any more")

    def _end(self, reason: str) -> None:
        self._ended_by = reason
        self.close()

    async def _notice(self, error: Exception) -> None:
        """Waits for the end of a session whose connection has ended, to learn why.

        Raises:
            SessionLost: the service doesn't know the session, so it did nothing.
        """
        closed = isinstance(error, MCPError) and error.code == CONNECTION_CLOSED
        if self._forgotten and not closed:
            self.close()
            raise SessionLost from error
        if closed and not self.ended:
            await asyncio.wait([self._owner], timeout=NOTICING.total_seconds())
        if self.ended:
            await asyncio.wait([self._owner], timeout=ENDING.total_seconds())

    async def _look(self, response: httpx2.Response) -> None:
        if response.request.method == "POST":  # a service may well refuse the others
            self._status = f"HTTP {response.status_code} {response.reason_phrase}" if response.is_error else ""
        # By the specification, a service that doesn't know a session answers so, and reads no further.
        if response.status_code == NOT_FOUND and SESSION_ID in response.request.headers:
            self._forgotten = True

    def _reason(self, error: BaseException) -> str:
        reason = str(error) or type(error).__name__
        return self._secrets.hidden(f"{reason} ({self._status})" if self._status else reason)[:LONGEST_REASON]

    def _failure(self, problem: str) -> ToolServerFailed:
        if self._ended_by:
            problem = f"{problem} ({self._ended_by})"
        return ToolServerFailed(
            self._server.name, self._secrets.hidden(self._server.address), problem, said=self._stderr.tail()
        )


def _first(error: BaseException) -> BaseException:
    """What went wrong first, out of the groups in which task groups wrap it."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error
