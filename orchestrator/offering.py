"""The tools of servers that a run has asked for: each server is asked once, and its answer holds until the run ends.

Deterministic. A server that changes in mid-run changes nothing for the run, which is replayed from its history.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from orchestrator.errors import UnknownName
from orchestrator.toolservers import MCPServer, ServerOwner, ServerTools, ToolListing

__all__ = ["Offering"]


class Offering:
    """What servers offer to a run."""

    def __init__(
        self,
        app: ServerOwner | None,
        handed_on: Mapping[str, ToolListing],
        ask: Callable[[MCPServer], Awaitable[ToolListing]],
    ) -> None:
        """Asks nothing yet.

        Args:
            handed_on: what the run for which this one goes on was offered.
            ask: takes the step that asks a server.
        """
        self._servers = {} if app is None else {server.name: server for server in app.servers}
        self._ask = ask
        self.listings = dict(handed_on)
        """By server."""
        self._tools: dict[str, ServerTools] = {}
        self._asking: dict[str, asyncio.Lock] = {}

    async def tools(self, name: str) -> ServerTools:
        """The tools of a server, the same whenever the run asks.

        Raises:
            UnknownName: the app has no such server.
        """
        if name not in self._servers:
            raise UnknownName("tool server", name, self._servers)
        async with self._asking.setdefault(name, asyncio.Lock()):
            if name not in self._tools:
                server = self._servers[name]
                if name not in self.listings:
                    self.listings[name] = await self._ask(server)
                self._tools[name] = ServerTools.of(server, self.listings[name])
        return self._tools[name]
