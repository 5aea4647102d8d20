"""A server as a worker reaches it: through one session after the other."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, TypeVar

from pydantic_core import from_json, to_json

from orchestrator.errors import ToolServerFailed
from orchestrator.mcp.contents import Answer, answer_of
from orchestrator.mcp.listing import listing_of
from orchestrator.mcp.secrets import Secrets
from orchestrator.mcp.session import Session, SessionLost
from orchestrator.toolservers import MCPServer, ToolListing

__all__ = ["Connection"]

R = TypeVar("R")


class Connection:
    """Opens a session when one is needed, and another one when that has ended."""

    def __init__(self, server: MCPServer, *, taken: Collection[str]) -> None:
        """Does nothing yet.

        Args:
            taken: names of the app's own tools, which none of the server's may get.
        """
        self.server = server
        self._taken = taken
        self._secrets: Secrets | None = None
        self._sessions: list[Session] = []
        """The last one is used; the others are ending."""

    async def listing(self) -> ToolListing:
        """What the server offers now.

        Raises:
            ConfigurationError: it needs a variable that isn't set.
            ToolServerFailed: it can't be asked.
            ToolServerUnusable: what it has isn't what the app says.
        """
        return listing_of(self.server, await self._ask(Session.tools), taken=self._taken)

    async def problem_with(self, tool: str, arguments: Mapping[str, Any]) -> str | None:
        """Why a call can't be made; `None` where it can.

        Raises:
            ConfigurationError: the server needs a variable that isn't set.
            ToolServerFailed: it can't be asked.
        """
        return await self._ask(lambda session: session.problem_with(tool, arguments))

    async def call(self, tool: str, arguments: Mapping[str, Any], *, key: str) -> Answer:
        """One call, made once, and in another session if this one had ended before.

        Args:
            key: names the call, the same for every attempt.

        Raises:
            TimeoutError: it took longer than the server's calls may.
            CallFailed: no result came.
            ToolServerFailed: the server can't be started or reached.
        """
        return self._discreet(answer_of(await self._ask(lambda session: session.call(tool, arguments, key=key))))

    async def aclose(self) -> None:
        """Ends every session."""
        for session in self._sessions:
            session.close()
        for session in self._sessions:
            await session.closed()

    async def _ask(self, ask: Callable[[Session], Awaitable[R]]) -> R:
        for _ in range(2):
            try:
                return await ask(self._session())
            except SessionLost:
                continue
        raise ToolServerFailed(
            self.server.name, self.server.address, "it forgets each session at once: is there more than one behind it?"
        )

    def _session(self) -> Session:
        if not self._sessions or self._sessions[-1].ended:
            if self._secrets is None:
                self._secrets = Secrets(self.server)
            self._sessions = [session for session in self._sessions if not session.gone]
            self._sessions.append(Session(self.server, self._secrets))
        return self._sessions[-1]

    def _discreet(self, answer: Answer) -> Answer:
        assert self._secrets is not None
        value = from_json(self._secrets.hidden(to_json(answer.value).decode()))
        return Answer(text=self._secrets.hidden(answer.text), value=value, failed=answer.failed)
