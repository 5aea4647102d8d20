"""`dev`, `worker` and `serve`: commands that run until they are stopped."""

import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack

import anyio
import click
from rich.console import Console

from orchestrator.api import create_api, serving
from orchestrator.app import Orchestrator
from orchestrator.connect import connect
from orchestrator.database import Database
from orchestrator.errors import ConfigurationError
from orchestrator.local import Progress
from orchestrator.plugin import client_plugin
from orchestrator.plugins import load_app, migrations
from orchestrator.runs import Runs
from orchestrator.session import RunningStack, running_session
from orchestrator.settings import Settings
from orchestrator.worker import Role, running_workers

__all__ = ["dev", "serve", "worker"]

SHIPPED = "answer"


@click.command()
@click.argument("apps", nargs=-1)
@click.pass_obj
def dev(settings: Settings, apps: tuple[str, ...]) -> None:
    """Run everything on this machine: Temporal, an SGLang engine on the CPU, workers and the API.

    APPS are apps such as 'support:app'; by default the shipped one. What the settings point elsewhere is used
    instead of being started.
    """
    if (running := RunningStack.find(settings)) is not None:
        raise ConfigurationError(
            f"a stack runs on {settings.state} already (process {running.pid})",
            remedy="Stop it, or set ORCHESTRATOR_STATE to another folder.",
        )
    loaded = [load_app(app) for app in apps or (SHIPPED,)]
    anyio.run(_dev, loaded, settings)


async def _dev(apps: Sequence[Orchestrator], settings: Settings) -> None:
    console = Console(stderr=True)
    with Progress(console) as progress:
        async with running_session(apps, settings, progress) as session:
            stack = session.stack
            console.print()
            if stack.temporal_ui:
                console.print(f"Temporal UI  {stack.temporal_ui}", highlight=False)
            console.print(f"API          {stack.api_url}/docs", highlight=False)
            for workflow in session.runs.workflows:
                name = workflow.signature.name
                console.print(f"workflow     {name}: POST {stack.api_url}/v1/workflows/{name}/runs", highlight=False)
            console.print("\nCtrl-C stops it all.")
            await anyio.sleep_forever()


@click.command()
@click.argument("apps", nargs=-1, required=True)
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice([role.value for role in Role]),
    help="What to run here; may be given again. By default all of it.",
)
@click.pass_obj
def worker(settings: Settings, apps: tuple[str, ...], roles: tuple[str, ...]) -> None:
    """Run the workers of APPS against the configured Temporal, engines and database."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    wanted = tuple(Role(role) for role in roles) or tuple(Role)
    if Role.ENGINE in wanted and not settings.engine.urls:
        raise ConfigurationError(
            "this worker has no engine", remedy="Set ORCHESTRATOR_ENGINE__URLS, or leave the role 'engine' out."
        )
    anyio.run(_worker, [load_app(app) for app in apps], settings, wanted)


async def _worker(apps: Sequence[Orchestrator], settings: Settings, roles: Sequence[Role]) -> None:
    async with Database.open(settings.database_url) as database:
        await _require_schema(database)
    async with running_workers(apps, settings, roles=roles):
        click.echo(f"working for {', '.join(app.name for app in apps)} as {', '.join(roles)}", err=True)
        await anyio.sleep_forever()


@click.command()
@click.argument("apps", nargs=-1, required=True)
@click.pass_obj
def serve(settings: Settings, apps: tuple[str, ...]) -> None:
    """Serve the REST API of APPS against the configured Temporal and database."""
    anyio.run(_serve, [load_app(app) for app in apps], settings)


async def _serve(apps: Sequence[Orchestrator], settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database.open(settings.database_url))
        await _require_schema(database)
        runs = Runs(await connect([client_plugin()]), database, apps)
        api = create_api(runs, settings=settings)
        url = await stack.enter_async_context(serving(api, settings.api.host, settings.api.port))
        click.echo(f"serving {url}/docs", err=True)
        await anyio.sleep_forever()


async def _require_schema(database: Database) -> None:
    at, needed = await migrations().version(database), migrations().head()
    if at != needed:
        raise ConfigurationError(
            f"the database is at schema version {at or 'none'}, and this version needs {needed}",
            remedy="Type 'orchestrator db upgrade'.",
        )
