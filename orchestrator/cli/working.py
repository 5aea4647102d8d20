"""`worker`: a process that works for a production installation.

Imports neither the API nor the local stack: a worker that was killed should be back soon.
"""

import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack

import anyio
import click

from orchestrator.app import Orchestrator
from orchestrator.cli.signals import until_terminated
from orchestrator.database import Database
from orchestrator.errors import ConfigurationError
from orchestrator.plugins import load_app, require_schema
from orchestrator.settings import Settings
from orchestrator.telemetry import Books, Drift, Engines, Exposition, Source, Telemetry, serving_metrics
from orchestrator.worker import Role, running_workers

__all__ = ["worker"]


@click.command()
@click.argument("apps", nargs=-1, required=True)
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice([role.value for role in Role]),
    help="What to run here; may be given again. By default all of it.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="Where to show metrics to Prometheus; 0 takes a free port. By default as the settings say.",
)
@click.pass_obj
def worker(settings: Settings, apps: tuple[str, ...], roles: tuple[str, ...], metrics_port: int | None) -> None:
    """Run the workers of APPS against the configured Temporal, engines and database."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    wanted = tuple(Role(role) for role in roles) or tuple(Role)
    if Role.ENGINE in wanted and not settings.engine.urls:
        raise ConfigurationError(
            "this worker has no engine", remedy="Set ORCHESTRATOR_ENGINE__URLS, or leave the role 'engine' out."
        )
    port = settings.telemetry.metrics_port if metrics_port is None else metrics_port
    anyio.run(_worker, [load_app(app) for app in apps], settings, wanted, port)


async def _worker(
    apps: Sequence[Orchestrator], settings: Settings, roles: Sequence[Role], metrics_port: int | None
) -> None:
    async with AsyncExitStack() as stack:
        telemetry = stack.enter_context(Telemetry.open(settings.telemetry))
        database = await stack.enter_async_context(Database.open(settings.database_url))
        await require_schema(database)
        sources: list[Source] = [Books(database), Drift(database)] if Role.LEDGER in roles else []
        if Role.ENGINE in roles:
            urls = [str(url) for url in settings.engine.urls]
            sources.append(await stack.enter_async_context(Engines.open(settings.engine.pool, urls)))
        exposition = Exposition(telemetry.metrics, sources)
        shown = serving_metrics(exposition, settings.telemetry.metrics_host, metrics_port)
        url = await stack.enter_async_context(shown)
        await stack.enter_async_context(running_workers(apps, settings, roles=roles, telemetry=telemetry))
        names = ", ".join(app.name for app in apps)
        watched = f", watched at {url}" if url else ""
        await until_terminated(saying=f"working for {names} as {', '.join(roles)}{watched}")
