"""`run`: one run of one workflow, from start to bill."""

import sys
from collections.abc import Sequence

import anyio
import click
from pydantic import JsonValue
from rich.console import Console
from rich.markup import escape

from orchestrator.app import Orchestrator
from orchestrator.cli.given import read_input
from orchestrator.cli.render import bill_table, follow, receipt_table
from orchestrator.local import Progress
from orchestrator.plugins import load_app
from orchestrator.runs import Run
from orchestrator.session import running_session
from orchestrator.settings import Settings
from orchestrator.steps import RunStatus

__all__ = ["run"]

RUN_FAILED = 3


@click.command()
@click.argument("target", metavar="APP:WORKFLOW")
@click.option("--input", "given", required=True, help="The input as JSON, '@FILE' to read it, or '-' for stdin.")
@click.option("--tenant", help="Whose run it is; by default the tenant of the settings.")
@click.option("--idempotency-key", help="With a key used before, the run that it started is shown.")
@click.option("--grant", "grants", multiple=True, help="A tool that the model may call without asking; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, and nothing else.")
@click.pass_obj
def run(
    settings: Settings,
    target: str,
    given: str,
    tenant: str | None,
    idempotency_key: str | None,
    grants: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run a workflow and print its result and bill.

    APP:WORKFLOW is a module and a workflow in it ('support:answer', or 'support:app:answer' to name the app), or a
    shipped one ('shipped:answer'). Uses the stack of 'orchestrator dev' where one runs, else brings one up.
    """
    reference, _, name = target.rpartition(":")
    if not reference:
        raise click.UsageError("write APP:WORKFLOW, as in 'support:answer'")
    app = load_app(reference)
    value = read_input(given, what="the run")
    app.find_workflow(name).signature.parse(value)
    app.require_tools(grants)
    finished = anyio.run(_run, app, name, value, tenant or settings.tenant, idempotency_key, grants, settings)
    if as_json:
        click.echo(as_object(finished))
    else:
        show(finished, Console())
    if finished.status is not RunStatus.COMPLETED:
        sys.exit(RUN_FAILED)


async def _run(
    app: Orchestrator,
    name: str,
    value: JsonValue,
    tenant: str,
    idempotency_key: str | None,
    grants: Sequence[str],
    settings: Settings,
) -> Run:
    console = Console(stderr=True)
    with Progress(console) as progress:
        async with running_session([app], settings, progress, api=False) as session:
            run_id = await session.runs.start(
                name, value, tenant=tenant, idempotency_key=idempotency_key, grants=grants
            )
            await follow(run_id, session.runs.events(run_id), console)
            return await session.runs.run(run_id)


def as_object(finished: Run) -> str:
    """A run as one line of JSON: `run_id`, `status`, `result` or `error`, `receipt` and `bill`."""
    fields = {"run_id", "status", "result", "error", "receipt", "bill"}
    return finished.model_dump_json(include=fields)


def show(finished: Run, console: Console) -> None:
    """Prints a run's result and bill for a person."""
    if finished.error is not None:
        console.print(f"[red]{finished.status}[/]: {escape(finished.error.message)}", highlight=False)
    else:
        console.print_json(data=finished.result)
    console.print(receipt_table(finished))
    console.print(bill_table(finished.bill))
