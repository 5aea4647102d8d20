"""How streams learn that their server stops: uvicorn alone would wait for them, then cut them off in mid-air."""

from collections.abc import Generator
from contextlib import contextmanager

import anyio
from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Shutdown"]

_KEY = "orchestrator.shutdown"


class Shutdown:
    """Ends waits once the server stops."""

    def __init__(self) -> None:
        self._begun = False
        self._waits: set[anyio.CancelScope] = set()

    @classmethod
    def of(cls, request: Request) -> "Shutdown":
        """That of the server that took the request; one that never begins under a server that isn't ours."""
        return request.scope.get(_KEY) or cls()

    def announced_to(self, app: ASGIApp) -> ASGIApp:
        """The app, with this shutdown in all of its requests."""

        async def announced(scope: Scope, receive: Receive, send: Send) -> None:
            scope[_KEY] = self
            await app(scope, receive, send)

        return announced

    @contextmanager
    def ends_wait(self) -> Generator[anyio.CancelScope]:
        """A scope that is cancelled when the server stops."""
        with anyio.CancelScope() as wait:
            self._waits.add(wait)
            try:
                if self._begun:
                    wait.cancel()
                yield wait
            finally:
                self._waits.discard(wait)

    def begin(self) -> None:
        """The server stops."""
        self._begun = True
        for wait in tuple(self._waits):
            wait.cancel()
