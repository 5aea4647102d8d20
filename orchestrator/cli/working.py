"""`worker`: a process that works for a production installation.

Imports neither the API nor the local stack: a worker that was killed should be back soon.
"""

import logging
from collections.abc import Sequence

import anyio
import click

from orchestrator.app import Orchestrator
from orchestrator.cli.signals import until_terminated
from orchestrator.database import Database
from orchestrator.errors import ConfigurationError
from orchestrator.plugins import load_app, require_schema
from orchestrator.settings import Settings
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
        await require_schema(database)
    async with running_workers(apps, settings, roles=roles):
        names = ", ".join(app.name for app in apps)
        await until_terminated(saying=f"working for {names} as {', '.join(roles)}")
