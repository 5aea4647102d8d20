"""What engines on this machine recorded of their requests, found by request id (`rid`) in the files that they write.

So an attempt whose worker was killed goes on the bill with what the engine computed, not with an estimate. What the
files are, and which flags a server needs to write them, is in `orchestrator.engine.records`.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from time import time
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from orchestrator.engine.records import HEALTH_CHECK, EngineFact, read_export, read_scheduler_line
from orchestrator.errors import ConfigurationError

__all__ = ["EngineFact", "EngineFacts"]

REMEMBERED = 32_768
"""Latest requests that are kept in memory, some 1.5 kB each; older ones are searched for in the files."""
OLD = timedelta(days=1)
"""Files last written before that are only read when something is searched for."""
SETTLING = timedelta(seconds=30)
"""A request whose client is gone ends within it: the engine looks for its client every few seconds."""
SAME_PROCESS = 1.0
"""Seconds by which what two lines say of their process's birth may differ."""


@dataclass
class _File:
    """A file as far as it was read. It is known by its inode, since logs are renamed when they are rotated."""

    path: Path
    offset: int = 0
    skipped: bool = False
    """Whether it was old when it was found, and so isn't remembered."""


@dataclass
class _Process:
    """A scheduler's process, by its lines."""

    born: float
    last: float


@dataclass
class _Memory:
    """The latest requests."""

    limit: int
    facts: OrderedDict[str, EngineFact] = field(default_factory=OrderedDict[str, EngineFact])
    forgot: bool = False

    def export(self, rid: str, fact: EngineFact) -> None:
        self.facts[rid] = fact
        self._forget()

    def line(self, rid: str, fact: EngineFact) -> None:
        """An export says more, whichever comes first."""
        self.facts.setdefault(rid, fact)
        self._forget()

    def _forget(self) -> None:
        if len(self.facts) > self.limit:
            self.facts.popitem(last=False)
            self.forgot = True


class EngineFacts:
    """The records in one folder and the folders below it. Safe to share between tasks.

    Reads on where it left off, so that asking again costs what was written meanwhile.
    """

    def __init__(self, folder: Path, *, remembered: int = REMEMBERED) -> None:
        """Opens the folder.

        Raises:
            ConfigurationError: it isn't there.
        """
        if not folder.is_dir():
            raise ConfigurationError(
                f"the folder where engines record their requests, {folder}, isn't there",
                remedy="Set ORCHESTRATOR_ENGINE__FACTS to the folder that the servers on this machine were given by "
                "--export-metrics-to-file-dir, or unset it: what killed workers used is estimated then.",
            )
        self.folder = folder
        self._lock = anyio.Lock()
        self._files: dict[tuple[int, int], _File] = {}
        self._memory = _Memory(remembered)
        self._searched: OrderedDict[str, None] = OrderedDict()
        self._processes: dict[int, list[_Process]] = {}

    async def find(self, rids: Iterable[str]) -> dict[str, EngineFact]:
        """What is recorded of requests, by their ids; those that aren't recorded are missing."""
        wanted = list(rids)
        async with self._lock:
            return await anyio.to_thread.run_sync(self._find, wanted)

    async def covers(self, server: str, since: datetime, until: datetime) -> bool:
        """Whether what isn't recorded of a server's requests of a time was never computed.

        So it is where one process of the server's scheduler was there before `since`, and still wrote some time after
        `until`. Only for servers that log as `orchestrator.engine.records.scheduler_logging` says; they are told apart
        by their ports.
        """
        async with self._lock:
            await anyio.to_thread.run_sync(self._read_on)
        begin, end = since.timestamp(), (until + SETTLING).timestamp()
        processes = self._processes.get(urlsplit(server).port or 0, ())
        return any(process.born <= begin and process.last >= end for process in processes)

    def _find(self, rids: Sequence[str]) -> dict[str, EngineFact]:
        self._read_on()
        found = {rid: fact for rid in rids if (fact := self._memory.facts.get(rid)) is not None}
        missing = {rid for rid in rids if rid not in found and rid not in self._searched}
        if missing and (self._memory.forgot or any(file.skipped for file in self._files.values())):
            found |= self._search(missing)
            # What is written of the others from now on is remembered.
            for rid in missing - found.keys():
                self._searched[rid] = None
                if len(self._searched) > self._memory.limit:
                    self._searched.popitem(last=False)
        return found

    def _read_on(self) -> None:
        there: dict[tuple[int, int], _File] = {}
        for path in sorted(self.folder.rglob("sglang-*.log*")):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            key = (status.st_dev, status.st_ino)
            file = self._files.get(key)
            if file is None:
                old = status.st_mtime < time() - OLD.total_seconds()
                file = _File(path, offset=status.st_size if old else 0, skipped=old)
            elif status.st_size < file.offset:
                file.offset = 0  # emptied and begun anew
            file.path = path
            there[key] = file
            if status.st_size > file.offset:
                file.offset = _each_line(path, file.offset, None, lambda line, file=file: self._take(line, file.path))
        self._files = there

    def _take(self, line: bytes, path: Path) -> None:
        if line.startswith(b"{"):
            if (export := read_export(line)) is not None:
                self._memory.export(*export)
        elif b"ReqTimeStats(" in line and (said := read_scheduler_line(line)) is not None:
            if said.at is not None and said.born is not None:
                self._see(path, said.born, said.at)
            if not said.rid.startswith(HEALTH_CHECK):
                self._memory.line(said.rid, said.fact)

    def _see(self, path: Path, born: float, at: float) -> None:
        port = _port_of(path)
        if port is None:
            return
        processes = self._processes.setdefault(port, [])
        for process in processes:
            if abs(process.born - born) < SAME_PROCESS:
                process.last = max(process.last, at)
                return
        processes.append(_Process(born, at))

    def _search(self, rids: Iterable[str]) -> dict[str, EngineFact]:
        """What the files say that isn't remembered, from their beginnings to where they were read."""
        memory = _Memory(self._memory.limit)
        ids = [rid.encode() for rid in rids]

        def take(line: bytes) -> None:
            if not any(rid in line for rid in ids):
                return
            if line.startswith(b"{"):
                if (export := read_export(line)) is not None:
                    memory.export(*export)
            elif (said := read_scheduler_line(line)) is not None:
                memory.line(said.rid, said.fact)

        for file in self._files.values():
            _each_line(file.path, 0, file.offset, take)
        return {rid: fact for rid in rids if (fact := memory.facts.get(rid)) is not None}


def _each_line(path: Path, begin: int, end: int | None, take: Callable[[bytes], None]) -> int:
    """Hands over the whole lines from `begin` on; where the next one begins. A half-written last line is left."""
    try:
        with path.open("rb") as file:
            file.seek(begin)
            place = begin
            for line in file:
                if not line.endswith(b"\n") or (end is not None and place >= end):
                    break
                place += len(line)
                take(line)
            return place
    except FileNotFoundError:
        return begin


def _port_of(path: Path) -> int | None:
    """The server's port in `sglang-scheduler-PORT.log`."""
    name, _, _ = path.name.partition(".")
    port = name.removeprefix("sglang-scheduler-")
    return int(port) if port.isdigit() else None
