"""`dev` and `serve`: everything on this machine, or the API of a production installation."""

from collections.abc import Sequence
from contextlib import AsyncExitStack

import anyio
import click
from rich.console import Console

from orchestrator.api import create_api, serving
from orchestrator.app import Orchestrator
from orchestrator.cli.signals import until_terminated
from orchestrator.connect import connect
from orchestrator.database import Database
from orchestrator.errors import ConfigurationError
from orchestrator.local import Progress
from orchestrator.plugin import client_plugin
from orchestrator.plugins import load_app, require_schema
from orchestrator.runs import Runs
from orchestrator.session import RunningStack, running_session
from orchestrator.settings import Settings
from orchestrator.telemetry import Books, Drift, Telemetry

__all__ = ["dev", "serve"]

SHIPPED = "shipped"


@click.command()
@click.argument("apps", nargs=-1)
@click.pass_obj
def dev(settings: Settings, apps: tuple[str, ...]) -> None:
    """Run everything on this machine: Temporal, an SGLang engine on the CPU, workers and the API.

    APPS are apps such as 'support:app'; by default the one that ships, with its workflows. What the settings point
    elsewhere is used instead of being started.
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
@click.pass_obj
def serve(settings: Settings, apps: tuple[str, ...]) -> None:
    """Serve the REST API of APPS against the configured Temporal and database."""
    anyio.run(_serve, [load_app(app) for app in apps], settings)


async def _serve(apps: Sequence[Orchestrator], settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        telemetry = stack.enter_context(Telemetry.open(settings.telemetry))
        database = await stack.enter_async_context(Database.open(settings.database_url))
        await require_schema(database)
        runs = Runs(await connect([*telemetry.plugins, client_plugin()]), database, apps)
        sources = [Books(database), Drift(database)]
        api = create_api(runs, settings=settings, telemetry=telemetry, sources=sources)
        url = await stack.enter_async_context(serving(api, settings.api.host, settings.api.port))
        await until_terminated(saying=f"serving {url}/docs")
