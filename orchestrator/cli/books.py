"""`runs`: what the ledger says of the latest runs."""

from collections.abc import Sequence

import anyio
import click
from pydantic import TypeAdapter
from rich.markup import escape
from rich.table import Table

from orchestrator.cli.render import dollars, seconds, show_in_full, tokens
from orchestrator.ledger import RunRecord, runs_of
from orchestrator.session import upgraded_database
from orchestrator.settings import Settings

__all__ = ["runs"]


@click.command()
@click.option("--tenant", help="Only this tenant's; by default everybody's.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="How many, newest first.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def runs(settings: Settings, tenant: str | None, limit: int, as_json: bool) -> None:
    """List the latest runs with what they cost, the runs that they started included."""

    async def read() -> Sequence[RunRecord]:
        async with upgraded_database(settings) as database:
            return await runs_of(database, tenant, limit=limit, outermost=True)

    records = anyio.run(read)
    if as_json:
        click.echo(TypeAdapter(Sequence[RunRecord]).dump_json(records))
        return
    if not records:
        click.echo("There are no runs yet.")
        return
    table = Table("run", "workflow", "tenant", "status", "started")
    for column in ("took", "tokens", "cost"):
        table.add_column(column, justify="right")
    for record in records:
        took = record.closed_at - record.started_at if record.closed_at else None
        table.add_row(
            record.workflow_id, record.workflow, escape(record.tenant), record.status,
            f"{record.started_at:%Y-%m-%d %H:%M:%S}", seconds(took), tokens(record.tokens), dollars(record.cost),
        )  # fmt: skip
    show_in_full(table)
