"""What other packages add, found by entry points: apps, commands, the retriever, the migrations.

`orchestrator` imports none of the packages that build on it; it reaches them here.
"""

import importlib
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from orchestrator.app import Orchestrator
from orchestrator.errors import ConfigurationError, UnknownName
from orchestrator.passages import Retriever
from orchestrator.settings import Settings

if TYPE_CHECKING:  # SQLAlchemy takes a second to import, and '--help' only wants the names of commands
    from orchestrator.database import Database

__all__ = ["command_entry_points", "load_app", "migrations", "open_retriever", "require_schema", "schema_version"]

RetrieverFactory = Callable[[Settings, "Database"], AbstractAsyncContextManager[Retriever]]


def load_app(reference: str) -> Orchestrator:
    """An app by `module:attribute`, or by the short name under which a package ships one.

    Raises:
        ConfigurationError: the module can't be imported, or the attribute is no app.
        UnknownName: there is no such module or short name.
    """
    shipped = {point.name: point for point in entry_points(group="orchestrator.apps")}
    module_name, _, attribute = reference.partition(":")
    if not attribute and module_name in shipped:
        return _app(reference, shipped[module_name].load())
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name and not module_name.startswith(f"{error.name}."):
            raise ConfigurationError(
                f"{module_name} can't be imported ({error})", remedy="Install what it needs."
            ) from error
        raise UnknownName("app", reference, shipped) from error
    found = getattr(module, attribute or "app", None)
    if found is None:
        apps = [name for name, value in vars(module).items() if isinstance(value, Orchestrator)]
        raise UnknownName("app", reference, [f"{module_name}:{name}" for name in apps])
    return _app(reference, found)


def _app(reference: str, found: object) -> Orchestrator:
    if not isinstance(found, Orchestrator):
        raise ConfigurationError(
            f"{reference} is a {type(found).__name__}, no app", remedy="Name an Orchestrator, as in 'support:app'."
        )
    return found


def open_retriever(settings: Settings, database: "Database") -> AbstractAsyncContextManager[Retriever]:
    """The retriever that is installed.

    Raises:
        ConfigurationError: none is.
    """
    for point in entry_points(group="orchestrator.retrieval"):
        return cast("RetrieverFactory", point.load())(settings, database)
    raise ConfigurationError("no retriever is installed", remedy="Install 'reasoning-orchestrator[retrieval]'.")


def command_entry_points() -> list[EntryPoint]:
    """Commands that other packages add to the command line."""
    return list(entry_points(group="orchestrator.commands"))


def migrations() -> Any:
    """The module that holds the migrations."""
    (point,) = entry_points(group="orchestrator.migrations")
    return point.load()


async def schema_version(database: "Database") -> str | None:
    """The version of the schema that a database is at; `None` before the first upgrade.

    Raises:
        ConfigurationError: the database doesn't answer.
    """
    from sqlalchemy.exc import DBAPIError

    try:
        return await migrations().version(database)
    except (OSError, DBAPIError) as error:
        url = database.engine.url.render_as_string(hide_password=True)
        raise ConfigurationError(
            f"the database {url} can't be used ({str(error).splitlines()[0]})",
            remedy="Start it, or correct ORCHESTRATOR_DATABASE__URL.",
        ) from error


async def require_schema(database: "Database") -> None:
    """Refuses a database at another version of the schema.

    Raises:
        ConfigurationError: it must be upgraded first, or doesn't answer.
    """
    at, needed = await schema_version(database), migrations().head()
    if at != needed:
        raise ConfigurationError(
            f"the database is at schema version {at or 'none'}, and this version needs {needed}",
            remedy="Type 'orchestrator db upgrade'.",
        )
