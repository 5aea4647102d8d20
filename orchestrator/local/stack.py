"""Brings up what the settings don't point elsewhere: a Temporal server and an SGLang engine on this machine."""

import signal
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import anyio
import httpx
from temporalio.client import Client
from temporalio.envconfig import ClientConfigProfile
from temporalio.service import RPCError

from orchestrator.errors import ConfigurationError, EngineUnavailable, OrchestratorError
from orchestrator.local.locks import state_lock
from orchestrator.local.processes import PartStopped
from orchestrator.local.report import Report, silently
from orchestrator.local.sglang import MODEL, PART, EngineServer, prepare_model
from orchestrator.local.temporal import NAMESPACE, TemporalServer
from orchestrator.settings import Settings

__all__ = [
    "LocalStack",
    "address_of",
    "embeds_engine",
    "embeds_temporal",
    "engine_problem",
    "engine_urls",
    "local_stack",
    "temporal_problem",
    "temporal_profile",
]

T = TypeVar("T")

DEFAULT_ADDRESS = "localhost:7233"
"""Temporal's own default."""


@dataclass(frozen=True, kw_only=True)
class LocalStack:
    temporal_address: str
    temporal_namespace: str
    temporal_ui: str | None
    """URL of Temporal's web interface; `None`: the server isn't ours."""
    engine_urls: tuple[str, ...]
    logs: Path
    """Folder of the parts' logs."""


@dataclass(frozen=True, kw_only=True)
class _Temporal:
    address: str
    namespace: str
    ui: str | None


def temporal_profile() -> ClientConfigProfile:
    """Temporal's own configuration, from its file and `TEMPORAL_...`.

    Raises:
        ConfigurationError: it can't be read.
    """
    try:
        return ClientConfigProfile.load()
    except RuntimeError as error:
        raise ConfigurationError(
            f"Temporal's configuration can't be read: {error}",
            remedy="Correct TEMPORAL_CONFIG_FILE or TEMPORAL_PROFILE.",
        ) from error


def embeds_temporal(settings: Settings) -> bool:
    """Whether the stack starts a Temporal server of its own."""
    if settings.temporal.embedded is not None:
        return settings.temporal.embedded
    return temporal_profile().address is None


def embeds_engine(settings: Settings) -> bool:
    """Whether the stack starts an engine of its own."""
    return not settings.engine.urls


def engine_urls(settings: Settings) -> tuple[str, ...]:
    """The configured engines, without the slash that pydantic puts at the end."""
    return tuple(str(url).rstrip("/") for url in settings.engine.urls)


@asynccontextmanager
async def local_stack(settings: Settings, report: Report = silently) -> AsyncGenerator[LocalStack]:
    """The parts are ready within the body, and gone after it. SIGTERM cancels the body, as Ctrl-C does.

    Raises:
        ConfigurationError: a part of the installation is missing, or a port or the state folder is in use.
        EngineUnavailable: a configured engine doesn't answer.
        PartNotReady: a part doesn't come up.
        PartStopped: a part ended by itself; the body is cancelled.
        SystemExit: SIGTERM came; the exit code says so.
    """
    own_temporal, own_engine = embeds_temporal(settings), embeds_engine(settings)
    temporal, engines = _Promise[_Temporal](), _Promise[tuple[str, ...]]()
    problem: BaseException | None = None
    with state_lock(settings.state) if own_temporal or own_engine else nullcontext():
        try:
            async with anyio.create_task_group() as parts:
                if threading.current_thread() is threading.main_thread():
                    parts.start_soon(_exit_on_sigterm)
                parts.start_soon(
                    _embedded_temporal if own_temporal else _configured_temporal, settings, report, temporal
                )
                parts.start_soon(_embedded_engine if own_engine else _configured_engines, settings, report, engines)
                found = await temporal.kept()
                stack = LocalStack(
                    temporal_address=found.address,
                    temporal_namespace=found.namespace,
                    temporal_ui=found.ui,
                    engine_urls=await engines.kept(),
                    logs=_logs(settings),
                )
                try:
                    yield stack
                except Exception:
                    await anyio.sleep(0.5)  # if it failed because a part crashed, that is about to be noticed
                    raise
                parts.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            problem = _first_cause(group)
    if problem is not None:
        raise problem  # out here, so that it keeps its own cause and context


async def _embedded_temporal(settings: Settings, report: Report, promise: "_Promise[_Temporal]") -> None:
    with _reported(report, "Temporal"):
        report("Temporal", "starting", "on this machine")
        server = TemporalServer(
            log=_logs(settings) / "temporal.log",
            db_file=settings.state.absolute() / "temporal.db",
            port=settings.temporal.port,
            ui_port=settings.temporal.ui_port,
        )
        async with server.start() as running:
            report("Temporal", "ready", f"{running.address}, web interface at {running.ui}")
            promise.keep(_Temporal(address=running.address, namespace=running.namespace, ui=running.ui))
            await running.part.crash()


async def _configured_temporal(_settings: Settings, report: Report, promise: "_Promise[_Temporal]") -> None:
    with _reported(report, "Temporal"):
        profile = temporal_profile()
        address = address_of(profile)
        report("Temporal", "starting", f"asking {address}")
        if problem := await temporal_problem(profile):
            raise ConfigurationError(
                f"no Temporal server can be reached at {address} ({problem})",
                remedy="Start it, or correct TEMPORAL_ADDRESS; without an address one is started on this machine.",
            )
        report("Temporal", "ready", address)
        promise.keep(_Temporal(address=address, namespace=profile.namespace or NAMESPACE, ui=None))


async def _embedded_engine(settings: Settings, report: Report, promise: "_Promise[tuple[str, ...]]") -> None:
    with _reported(report, PART):
        if settings.engine.model not in (None, MODEL):
            raise ConfigurationError(
                f"the engine that is started on this machine serves {MODEL}, not {settings.engine.model}",
                remedy="Set ORCHESTRATOR_ENGINE__URLS to a server of that model, or unset ORCHESTRATOR_ENGINE__MODEL.",
            )
        report(PART, "starting", "on this machine's CPU")
        server = EngineServer(
            environment=settings.engine.environment,
            model=await prepare_model(settings, report),
            log=_logs(settings) / "sglang.log",
            port=settings.engine.port,
            max_running_requests=settings.engine.concurrency,
            tool_call_parser=settings.engine.tool_call_parser or EngineServer.tool_call_parser,
            reasoning_parser=settings.engine.reasoning_parser,
        )
        report(PART, "starting", f"loading {MODEL}")
        async with server.start() as running:
            report(PART, "ready", running.url)
            promise.keep((running.url,))
            await running.part.crash()


async def _configured_engines(settings: Settings, report: Report, promise: "_Promise[tuple[str, ...]]") -> None:
    with _reported(report, PART):
        urls = engine_urls(settings)
        report(PART, "starting", f"asking {', '.join(urls)}")
        async with httpx.AsyncClient(timeout=10) as client:
            for url in urls:
                if problem := await engine_problem(client, url):
                    raise EngineUnavailable(url, problem)
        report(PART, "ready", ", ".join(urls))
        promise.keep(urls)


def address_of(profile: ClientConfigProfile) -> str:
    """The configured address, or Temporal's own default."""
    return profile.address or DEFAULT_ADDRESS


async def temporal_problem(profile: ClientConfigProfile) -> str | None:
    """Why the configured Temporal server can't be used; `None` if it can."""
    try:
        with anyio.fail_after(10):
            await Client.connect(**replace(profile, address=address_of(profile)).to_client_connect_config())
    except TimeoutError:
        return "no answer within 10 s"
    except (RuntimeError, RPCError) as error:
        return str(error)
    return None


async def engine_problem(client: httpx.AsyncClient, url: str) -> str | None:
    """Why the engine at `url` can't be used; `None` if it can."""
    try:
        response = await client.get(f"{url}/health")
    except httpx.TransportError as error:
        return str(error) or type(error).__name__
    return None if response.is_success else f"/health answered {response.status_code}"


async def _exit_on_sigterm() -> None:
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            raise _Terminated


class _Terminated(Exception):
    """SIGTERM came."""


@contextmanager
def _reported(report: Report, part: str) -> Generator[None]:
    """Reports how the part ends."""
    try:
        yield
    except OrchestratorError as error:
        report(part, "failed", str(error))
        raise
    except anyio.get_cancelled_exc_class():
        report(part, "stopped", "")
        raise


def _logs(settings: Settings) -> Path:
    return settings.state.absolute() / "logs"


def _first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The part's own error, if one is to blame for the rest; else the body's error as it was raised."""
    for error in group.exceptions:
        if isinstance(error, PartStopped):
            return error
        if isinstance(error, _Terminated):
            return SystemExit(128 + signal.SIGTERM)
    return group.exceptions[0] if len(group.exceptions) == 1 else group


class _Promise(Generic[T]):
    """A value that another task will find."""

    def __init__(self) -> None:
        self._set = anyio.Event()
        self._values: list[T] = []

    def keep(self, value: T) -> None:
        self._values.append(value)
        self._set.set()

    async def kept(self) -> T:
        await self._set.wait()
        return self._values[0]
