"""`quote`: what a run will cost, before it is started."""

import sys
from datetime import timedelta

import anyio
import click
from rich.table import Table

from orchestrator.cli.given import read_input
from orchestrator.cli.render import dollars, seconds, show_in_full, tokens
from orchestrator.connect import connect
from orchestrator.errors import ConfigurationError, NoHistory
from orchestrator.plugin import client_plugin
from orchestrator.plugins import load_app
from orchestrator.quotes import Basis, Input, Quote, Quotes, Subject
from orchestrator.session import RunningStack, upgraded_database
from orchestrator.settings import Settings

__all__ = ["quote"]

NOTHING_TO_GO_BY = 4

_WHOSE = {
    Basis.OWN_VERSION: "your runs of this version",
    Basis.OWN: "your runs of any version: this one has too few",
    Basis.VERSION: "everybody's runs of this version: yours are too few",
    Basis.WORKFLOW: "everybody's runs of any version: yours are too few",
}


@click.command()
@click.argument("workflow")
@click.option("--input", "given", help="The input as JSON, '@FILE' to read it, or '-' for stdin.")
@click.option("--tenant", help="Whose run it would be; by default the tenant of the settings.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def quote(settings: Settings, workflow: str, given: str | None, tenant: str | None, as_json: bool) -> None:
    """Say what a run would cost, in tokens, money and time, by the runs that there were. Starts nothing.

    WORKFLOW is a workflow that was run before, or APP:WORKFLOW as for 'orchestrator run', which also checks the input
    and knows the present version. Ends with 4 where no run ever completed, so that there is nothing to go by.
    """
    reference, _, name = workflow.rpartition(":")
    app = load_app(reference) if reference else None
    definition = None if app is None else app.find_workflow(name)
    subject = Subject(
        workflow=name,
        tenant=tenant or settings.tenant,
        definition=definition,
        input=None if given is None else Input(read_input(given, what="the quote")),
    )
    made = anyio.run(_quote, settings, subject)
    if as_json:
        click.echo(made.model_dump_json())
    elif made.basis is Basis.NONE:
        click.echo(str(NoHistory(made.workflow, ended=made.ended)))
        _show_waiting(made)
    else:
        _show(made)
    if made.basis is Basis.NONE:
        sys.exit(NOTHING_TO_GO_BY)


async def _quote(settings: Settings, subject: Subject) -> Quote:
    found = RunningStack.find(settings)
    async with upgraded_database(settings) as database:
        try:
            client = await connect([client_plugin()], address=found and found.temporal_address)
        except ConfigurationError:  # the ledger answers without; what Temporal would add is said to be unknown
            client = None
        return await Quotes(database, client).quote(subject)


def _show(made: Quote) -> None:
    version = "" if made.version is None else f" {made.version}"
    rests_on = f"{_count(made.runs, 'completed run')} ({_WHOSE[made.basis]}; confidence: {made.confidence})"
    click.echo(f"One more run of {made.workflow}{version}, by {rests_on}.")
    assert made.cost is not None
    assert made.time is not None
    table = Table("")
    for heading in ("half stay below", "nine in ten stay below", "mean"):
        table.add_column(heading, justify="right")
    table.add_row("cost", dollars(made.cost.p50), dollars(made.cost.p90), dollars(made.cost.mean), style="bold")
    for name in ("tokens", "prompt", "cached", "output"):
        spread = getattr(made, name)
        label = name if name == "tokens" else f"  {name}"
        table.add_row(label, tokens(spread.p50), tokens(spread.p90), tokens(spread.mean))
    table.add_row("time", seconds(made.time.p50), seconds(made.time.p90), seconds(made.time.mean))
    show_in_full(table)
    lost = made.ended - made.runs
    click.echo(f"Expected for each run that completes: {dollars(made.cost_per_completed)}{_failed(lost, made.ended)}.")
    if made.waste_share:
        click.echo(f"Of all that was spent, {made.waste_share:.1%} bought nothing.")
    _show_input(made)
    for path in made.paths if len(made.paths) > 1 else ():
        click.echo(f"{_count(path.runs, 'run')} went {path.path}: half of them cost up to {dollars(path.cost_p50)}.")
    _show_waiting(made)


def _failed(lost: int, ended: int) -> str:
    return "" if not lost else f", since {lost:,} of {_count(ended, 'run')} failed and were paid for too"


def _show_input(made: Quote) -> None:
    effect = made.input
    if effect is None:
        return
    if effect.scaled:
        seen = f"{effect.smallest:,} to {effect.largest:,} bytes"
        beyond = ": a guess, as it is outside of that" if effect.beyond else ""
        click.echo(
            f"For an input of {effect.bytes:,} bytes, going by {_count(effect.runs, 'run')} with {seen}{beyond}."
        )
    else:
        click.echo(f"The input's size was not found to matter ({_count(effect.runs, 'run')} with known inputs).")


def _show_waiting(made: Quote) -> None:
    waits = made.waiting
    if waits is None:
        click.echo("How long it would wait now isn't known: Temporal doesn't answer.")
        return
    for queue in waits.unattended:
        click.echo(f"No worker polls {queue}: a run would stop there until one does.")
    for load in waits.pools:
        if before := load.queued + (load.waiting or 0):
            click.echo(f"Pool {load.pool}: {_count(before, 'call')} before it, {load.running:,} running.")
    if waits.expected is None:
        click.echo("How long it would wait now can't be said: calls are queued and none is running.")
    elif waits.expected > timedelta(0):
        click.echo(f"As the queues are now, it would wait {seconds(waits.expected)} in all.")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
