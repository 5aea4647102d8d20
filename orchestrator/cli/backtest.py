"""`backtest`: stored runs again, in another way, and whether that is better. Ends with 1 where a condition says so."""

import importlib
import sys
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import cast

import anyio
import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from orchestrator.app import Orchestrator
from orchestrator.backtests import (
    Backtest,
    BacktestReport,
    Check,
    Difference,
    Metric,
    Plan,
    Selection,
    condition,
    variant_of,
)
from orchestrator.cli.render import dollars, show_in_full, tokens
from orchestrator.connect import connect
from orchestrator.errors import ConfigurationError, UnknownName
from orchestrator.ledger import timeframe
from orchestrator.local import Progress
from orchestrator.plugin import client_plugin
from orchestrator.plugins import load_app
from orchestrator.session import running_session
from orchestrator.settings import Settings

__all__ = ["backtest"]

CONDITION_HOLDS = 1

_WHY = {
    "history_gone": "its history isn't kept any more",
    "input_unfit": "its input doesn't fit the code as it is now",
    "record_too_large": "its record is too large to hand on",
    "not_started": "Temporal didn't take it, or lost sight of it",
}
_BY = {
    "check": "the given check",
    "workflow": "the workflow's own check",
    "match": "equality with the result on record",
}


@click.command()
@click.argument("target", metavar="APP:WORKFLOW")
@click.option("--with", "changes", multiple=True, metavar="KEY=VALUE", help="What to change; may be given again.")
@click.option("--since", help="Only runs that ended from then on: a date, a time, or how long ago: 7d, 24h.")
@click.option("--until", help="Only runs that ended before then; written the same way.")
@click.option("--of-version", help="Only runs of this version of the workflow.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="The latest so many.")
@click.option("--tenant", help="Whose runs; by default the tenant of the settings.")
@click.option("--check", "check_name", metavar="MODULE:FUNCTION", help="Says whether a result is right for an input.")
@click.option("--live-reads", is_flag=True, help="Make reads that aren't on the record; writes are never made.")
@click.option("--fail-if", "conditions", multiple=True, metavar="CONDITION", help="End with 1 if it holds.")
@click.option("--at-a-time", default=4, show_default=True, type=click.IntRange(1, 100), help="Reruns side by side.")
@click.option("--timeout", default=3600, show_default=True, type=click.IntRange(min=1), help="Seconds for one rerun.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def backtest(
    settings: Settings,
    target: str,
    changes: tuple[str, ...],
    since: str | None,
    until: str | None,
    of_version: str | None,
    limit: int,
    tenant: str | None,
    check_name: str | None,
    live_reads: bool,
    conditions: tuple[str, ...],
    at_a_time: int,
    timeout: int,
    as_json: bool,
) -> None:
    """Run stored runs of a workflow again with the same inputs, and say how cost, tokens, time and accuracy differ.

    The engine thinks anew; tools, retrieval and people are answered from the record of the original run, and nothing is
    written twice. Without --with it is the code as it is now that is tried. Keys of --with: pool, strategy (a name or
    JSON), budget.usd, budget.tokens, budget.calls, budget.gpu_seconds, and version, which only makes sure of the code.

    Conditions: 'cost>+10%', 'tokens>1000', 'time>+20%', 'accuracy<-2' (points), 'cost.low>0%' (a bound of the 95 %
    interval), and numbers of runs: 'off_record>0', 'failed>0', 'skipped>0', 'unjudged>0', 'pairs<20'.

    Reruns are runs like any other; the ledger keeps them as workflow 'backtest/NAME', away from those made in earnest.
    """
    reference, _, name = target.rpartition(":")
    if not reference:
        raise click.UsageError("write APP:WORKFLOW, as in 'support:answer'")
    app = load_app(reference)
    definition = app.find_workflow(name)
    plan = Plan(
        definition=definition,
        selection=Selection(
            workflow=name,
            tenant=tenant or settings.tenant,
            timeframe=timeframe(since, until),
            limit=limit,
            version=of_version,
        ),
        variant=variant_of(definition, changes),
        check=None if check_name is None else _load_check(check_name),
        live_reads=live_reads,
        conditions=[condition(text) for text in conditions],
        at_a_time=at_a_time,
        timeout=timedelta(seconds=timeout),
    )
    report = anyio.run(_backtest, settings, app, plan)
    if as_json:
        click.echo(report.model_dump_json())
    else:
        _show(report)
    for text in report.failed_by:
        click.secho(f"fails: {text}", fg="red", err=True)
    if report.failed_by:
        sys.exit(CONDITION_HOLDS)


async def _backtest(settings: Settings, app: Orchestrator, plan: Plan) -> BacktestReport:
    console = Console(stderr=True)
    with Progress(console) as progress:
        async with running_session([app], settings, progress, api=False) as session:
            client = await connect([client_plugin()], address=session.stack.temporal_address)
            work = Backtest(client, session.database, plan)
            originals = await work.originals()
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            with Bar(*columns, console=console, disable=not console.is_terminal) as bar:
                task = bar.add_task(f"Backtest of {plan.selection.workflow}", total=len(originals))
                return await work.run(originals, lambda: bar.advance(task))


def _load_check(reference: str) -> Check:
    """A function by `module:name`.

    Raises:
        ConfigurationError: the module can't be imported, or what it has of that name can't be called.
        UnknownName: it has nothing of that name.
    """
    module_name, _, name = reference.partition(":")
    if not module_name or not name:
        raise click.UsageError("write --check MODULE:FUNCTION")
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigurationError(f"{module_name} can't be imported ({error})", remedy="Correct --check.") from error
    found = getattr(module, name, None)
    if found is None:
        functions = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
        raise UnknownName("check", name, functions)
    if not callable(found):
        raise ConfigurationError(f"{reference} can't be called", remedy="Name a function of input and result.")
    return cast("Check", found)


def _show(report: BacktestReport) -> None:
    counts = report.counts
    click.echo(f"{report.workflow} on record beside {report.variant.label}: {_count(counts['pairs'], 'pair')} of runs.")
    if report.differences:
        table = Table("", title_justify="left")
        for heading in ("on record", "now", "difference", "95 % interval"):
            table.add_column(heading, justify="right")
        for made in report.differences:
            table.add_row(*_row(made))
        show_in_full(table)
    click.echo(f"Accuracy is by {_BY[report.accuracy_by]}. Intervals: {report.method}.")
    if counts["pairs"] > 0 and any(made.low is None for made in report.differences):
        click.echo("So few pairs have no interval: --limit and --since say which runs are taken.")
    _show_troubles(report)
    click.echo(f"The backtest itself cost {dollars(report.spent)}.")


def _show_troubles(report: BacktestReport) -> None:
    for skipped in report.skipped:
        detail = f" ({skipped.detail})" if skipped.detail else ""
        click.echo(f"Skipped {skipped.run_id}: {_WHY[skipped.why]}{detail}.")
    for pair in report.pairs:
        if pair.error is not None:
            left_out = "" if pair.compared else "; it isn't compared"
            click.echo(f"{pair.rerun.run_id}, again for {pair.original.run_id}, {pair.status}: {pair.error}{left_out}.")
    if report.off_record:
        calls = ", ".join(f"{name} {number:,}×" for name, number in report.off_record_calls.items())
        click.echo(
            f"{_count(report.off_record, 'rerun')} asked for what isn't on the record, and was told so: {calls}."
        )
    if report.unjudged:
        why = f": the check raised {report.check_problem}" if report.check_problem else ""
        click.echo(f"{_count(report.unjudged, 'pair')} couldn't be judged{why}.")
    if report.strategies_used == 0:
        click.echo("The strategy changed nothing: none of these runs thinks by one.")


def _row(made: Difference) -> tuple[str, str, str, str, str]:
    def signed(figure: Decimal) -> str:
        return f"{'-' if figure < 0 else '+'}{_figure(made.metric, abs(figure))}"

    difference = signed(made.difference)
    if made.relative is not None and made.metric is not Metric.ACCURACY:
        difference += f" ({made.relative:+.1%})"
    interval = "-" if made.low is None or made.high is None else f"{signed(made.low)} to {signed(made.high)}"
    return (
        made.metric,
        _figure(made.metric, made.original),
        _figure(made.metric, made.variant),
        difference,
        interval,
    )


def _figure(metric: Metric, figure: Decimal) -> str:
    match metric:
        case Metric.COST:
            return dollars(figure)
        case Metric.TOKENS:
            return tokens(round(figure))
        case Metric.TIME:
            return f"{figure:,.2f} s"
        case Metric.ACCURACY:
            return f"{figure:.1f} %"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
