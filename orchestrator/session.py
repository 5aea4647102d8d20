"""A working orchestrator around a block of code: the stack, its workers and its API, started here or found running.

What `dev`, `demo` and `run` share. `dev` leaves a note of where its parts are, so that later commands in the same
folder use them instead of starting their own.
"""

import fcntl
import logging
import os
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict, ValidationError

from orchestrator.api import create_api, serving
from orchestrator.app import Orchestrator
from orchestrator.connect import connect
from orchestrator.database import Database
from orchestrator.local import LocalStack, Report, local_stack
from orchestrator.plugin import client_plugin
from orchestrator.plugins import migrations, schema_version
from orchestrator.runs import Runs
from orchestrator.settings import Settings
from orchestrator.telemetry import Books, Drift, Engines, Telemetry
from orchestrator.worker import Role, running_workers

__all__ = ["RunningStack", "Session", "running_session", "upgraded_database"]

APP_ROLES = (Role.WORKFLOWS, Role.TOOLS)


class RunningStack(BaseModel):
    """Where a stack's parts are; kept in `<state>/stack.json` while it runs.

    Its process holds a lock on the note, which the kernel drops with the process: the note of a killed one counts for
    nothing, whoever has its process id now.
    """

    model_config = ConfigDict(frozen=True)

    pid: int
    temporal_address: str
    temporal_ui: str | None
    engine_urls: tuple[str, ...]
    api_url: str | None
    apps: tuple[str, ...]
    """Whose workflows and tools its workers run."""

    @classmethod
    def find(cls, settings: Settings) -> "RunningStack | None":
        """The stack that runs on this state folder, if one does."""
        try:
            with _note(settings).open() as note:
                return cls.model_validate_json(note.read()) if _is_held(note) else None
        except (FileNotFoundError, ValidationError):
            return None

    @contextmanager
    def noted(self, settings: Settings) -> Generator[None]:
        """Keeps the note while the body runs."""
        with _note(settings).open("w") as note:
            fcntl.flock(note, fcntl.LOCK_EX)
            note.write(self.model_dump_json())
            note.flush()
            try:
                yield
            finally:
                _note(settings).unlink(missing_ok=True)


@dataclass(frozen=True, kw_only=True)
class Session:
    """What a command works with."""

    stack: RunningStack
    runs: Runs
    database: Database


@asynccontextmanager
async def running_session(
    apps: Sequence[Orchestrator], settings: Settings, report: Report, *, api: bool = True
) -> AsyncGenerator[Session]:
    """Uses the stack that runs on the state folder, or brings one up for as long as the body runs.

    Workers of `apps` run here, unless the stack that was found has them.

    Raises:
        ConfigurationError: a part is missing, or a port is in use.
        PartStopped: a part crashed; the body is cancelled.
    """
    async with AsyncExitStack() as stack:
        stack.enter_context(_logged(settings))
        telemetry = stack.enter_context(Telemetry.open(settings.telemetry))
        database = await stack.enter_async_context(upgraded_database(settings))
        if (found := RunningStack.find(settings)) is not None:
            report("Stack", "ready", f"the one that process {found.pid} runs")
            strangers = [app for app in apps if app.name not in found.apps]
            await stack.enter_async_context(
                running_workers(
                    strangers, settings, address=found.temporal_address, roles=APP_ROLES, telemetry=telemetry
                )
            )
            runs = await _runs(found.temporal_address, database, apps, telemetry)
            yield Session(stack=found, runs=runs, database=database)
            return
        local = await stack.enter_async_context(local_stack(settings, report))
        facts = local.logs / "facts"
        report("Workers", "starting", ", ".join(app.name for app in apps))
        await stack.enter_async_context(
            running_workers(
                apps,
                settings,
                address=local.temporal_address,
                engine_urls=local.engine_urls,
                facts=facts if facts.is_dir() else None,
                telemetry=telemetry,
            )
        )
        report("Workers", "ready", ", ".join(app.name for app in apps))
        runs = await _runs(local.temporal_address, database, apps, telemetry)
        url = None
        if api:
            report("API", "starting", "")
            engines = await stack.enter_async_context(Engines.open(settings.engine.pool, local.engine_urls))
            sources = [Books(database), Drift(database), engines]
            made = create_api(runs, settings=settings, telemetry=telemetry, sources=sources)
            url = await stack.enter_async_context(serving(made, settings.api.host, settings.api.port))
            report("API", "ready", f"{url}/docs")
        running = _record(local, url, apps)
        stack.enter_context(running.noted(settings))
        yield Session(stack=running, runs=runs, database=database)


@asynccontextmanager
async def upgraded_database(settings: Settings) -> AsyncGenerator[Database]:
    """The database, at the version of the schema that the code needs.

    Raises:
        ConfigurationError: the database doesn't answer.
    """
    async with Database.open(settings.database_url, pool_size=settings.database.pool_size) as database:
        if await schema_version(database) != migrations().head():
            await migrations().upgrade(database)
        yield database


@contextmanager
def _logged(settings: Settings) -> Generator[None]:
    """Keeps the workers' log in a file: the terminal shows what the run's events say."""
    path = settings.state / "logs" / "workers.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()


async def _runs(address: str, database: Database, apps: Sequence[Orchestrator], telemetry: Telemetry) -> Runs:
    return Runs(await connect([*telemetry.plugins, client_plugin()], address=address), database, apps)


def _record(local: LocalStack, api_url: str | None, apps: Sequence[Orchestrator]) -> RunningStack:
    return RunningStack(
        pid=os.getpid(),
        temporal_address=local.temporal_address,
        temporal_ui=local.temporal_ui,
        engine_urls=local.engine_urls,
        api_url=api_url,
        apps=tuple(app.name for app in apps),
    )


def _note(settings: Settings) -> Path:
    return settings.state / "stack.json"


def _is_held(note: IO[str]) -> bool:
    try:
        fcntl.flock(note, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
