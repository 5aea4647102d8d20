"""`sweep`: one sweep of the ledger, by hand."""

import json
from dataclasses import asdict

import anyio
import click

from orchestrator.connect import connect
from orchestrator.engine.facts import EngineFacts
from orchestrator.ledger import Swept
from orchestrator.plugin import client_plugin
from orchestrator.session import RunningStack, upgraded_database
from orchestrator.settings import Settings
from orchestrator.sweeping import sweeper_for

__all__ = ["sweep"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def sweep(settings: Settings, as_json: bool) -> None:
    """Close what killed workers left open in the ledger. Workers do this by themselves four times a minute."""
    swept = anyio.run(_sweep, settings)
    if as_json:
        click.echo(json.dumps(asdict(swept)))
        return
    click.echo(
        f"closed {swept.from_facts} by the engine's record and {swept.estimated} by an estimate, "
        f"corrected {swept.corrected} estimates, left {swept.left} that may still be running; "
        f"closed {swept.closed} runs that were ended from outside"
    )


async def _sweep(settings: Settings) -> Swept:
    stack = RunningStack.find(settings)
    async with upgraded_database(settings) as database:
        client = await connect([client_plugin()], address=stack.temporal_address if stack else None)
        facts = None if settings.engine.facts is None else EngineFacts(settings.engine.facts)
        return await sweeper_for(client, database, facts).sweep()
