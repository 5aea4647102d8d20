"""`runs` and `cost`: what the ledger says."""

from collections.abc import Sequence

import anyio
import click
from pydantic import TypeAdapter
from rich.markup import escape
from rich.table import Table

from orchestrator.cli.render import dollars, seconds, show_in_full, tokens
from orchestrator.ledger import RunRecord, WorkflowCost, runs_of, workflow_costs
from orchestrator.session import upgraded_database
from orchestrator.settings import Settings

__all__ = ["cost", "runs"]

_tenant = click.option("--tenant", help="Only this tenant's; by default everybody's.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@_tenant
@click.option("--limit", default=20, show_default=True, help="How many, newest first.")
@_json
@click.pass_obj
def runs(settings: Settings, tenant: str | None, limit: int, as_json: bool) -> None:
    """List the latest runs with what they cost."""

    async def read() -> Sequence[RunRecord]:
        async with upgraded_database(settings) as database:
            return await runs_of(database, tenant, limit=limit)

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


@click.command()
@_tenant
@_json
@click.pass_obj
def cost(settings: Settings, tenant: str | None, as_json: bool) -> None:
    """Show what a completed run of each workflow costs, failed and cancelled runs included."""

    async def read() -> Sequence[WorkflowCost]:
        async with upgraded_database(settings) as database:
            return await workflow_costs(database, tenant)

    costs = anyio.run(read)
    if as_json:
        click.echo(TypeAdapter(Sequence[WorkflowCost]).dump_json(costs))
        return
    if not costs:
        click.echo("There are no runs yet.")
        return
    table = Table("workflow")
    for column in ("runs", "completed", "tokens", "waste", "cost", "cost per completed run"):
        table.add_column(column, justify="right")
    for row in costs:
        table.add_row(
            row.workflow, str(row.runs), str(row.completed), tokens(row.tokens), dollars(row.waste), dollars(row.cost),
            dollars(row.cost_per_completed),
        )  # fmt: skip
    show_in_full(table)
