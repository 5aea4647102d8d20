"""What a server's program writes to its standard error: to the log, and its end into errors."""

import asyncio
import logging
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TextIO

__all__ = ["Stderr"]

logger = logging.getLogger(__name__)

KEPT = 4096
"""Bytes."""
LINES = 10


class Stderr:
    """Reads as fast as the program writes, so that the program never waits; keeps the end."""

    def __init__(self, server: str, hidden: Callable[[str], str]) -> None:
        self._server = server
        self._hidden = hidden
        self._end = b""
        self._unfinished = b""
        self._reading: int | None = None

    @contextmanager
    def opened(self) -> Generator[TextIO]:
        """What the program gets as its standard error; to be left once it has it."""
        self._reading, writing = os.pipe()
        os.set_blocking(self._reading, False)
        asyncio.get_running_loop().add_reader(self._reading, self._read)
        with os.fdopen(writing, "w") as file:
            yield file

    def tail(self) -> str:
        """The last lines, without secrets."""
        self._read()
        lines = self._hidden(self._end.decode(errors="replace")).splitlines()
        return "\n".join(lines[-LINES:])

    def close(self) -> None:
        """Reads no more."""
        if self._reading is not None:
            self._read()
        if self._reading is not None:
            self._stop(self._reading)

    def _read(self) -> None:
        while self._reading is not None:
            try:
                data = os.read(self._reading, 65_536)
            except BlockingIOError:
                return
            if not data:
                self._stop(self._reading)
                return
            self._end = (self._end + data)[-KEPT:]
            *lines, self._unfinished = (self._unfinished + data)[-KEPT:].split(b"\n")
            for line in lines:
                logger.info("%s: %s", self._server, self._hidden(line.decode(errors="replace")))

    def _stop(self, reading: int) -> None:
        asyncio.get_running_loop().remove_reader(reading)
        os.close(reading)
        self._reading = None
