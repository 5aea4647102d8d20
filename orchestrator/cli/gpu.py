"""`gpu`: what the GPUs did, and what that cost."""

from collections.abc import Sequence
from decimal import Decimal

import anyio
import click
from rich.markup import escape
from rich.table import Table

from orchestrator.attribution import Attribution, GpuReport, GpuTime, gpu_report
from orchestrator.cli.render import UNKNOWN, dollars, seconds, show_in_full
from orchestrator.ledger import timeframe
from orchestrator.session import upgraded_database
from orchestrator.settings import Settings

__all__ = ["gpu"]


@click.command()
@click.option("--since", help="From this date, time, or so long ago (7d, 24h, 30m).")
@click.option("--until", help="Up to it.")
@click.option("--server", help="URL of one engine; by default all.")
@click.option("--windows", is_flag=True, help="Every window on a line of its own.")
@click.option("--preview", is_flag=True, help="Also compute the windows that aren't final yet, from what is settled.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def gpu(
    settings: Settings,
    since: str | None,
    until: str | None,
    server: str | None,
    windows: bool,
    preview: bool,
    as_json: bool,
) -> None:
    """Show what GPUs did: worked for calls, idled, or were busy with none of our calls.

    The three add up to the wall time of all GPUs, and their money to its price. A window is final a few minutes after
    its end, once every call in it is settled.
    """
    period = timeframe(since, until)

    async def read() -> GpuReport:
        async with upgraded_database(settings) as database:
            if preview:
                await Attribution(database, gpus={settings.engine.pool: settings.engine.gpus}).preview()
            return await gpu_report(database, period, server=server, windows=windows)

    report = anyio.run(read)
    if as_json:
        click.echo(report.model_dump_json())
    elif not report.servers:
        click.echo("No GPU time is attributed in this period." if since or until else "No GPU time is attributed yet.")
    else:
        show_in_full(_table(report.servers if report.windows is None else report.windows, single=windows))
        _remark(report.servers)


def _table(times: Sequence[GpuTime], *, single: bool) -> Table:
    table = Table("server", "pool", *(["began"] if single else []))
    for column in ("wall", "attributed", "idle", "overhead", "utilisation", "weights", "cost", "for idling"):
        table.add_column(column, justify="left" if column == "weights" else "right")
    for time in times:
        table.add_row(
            escape(time.server), escape(time.pool), *([f"{time.started_at:%Y-%m-%d %H:%M:%S}"] if single else []),
            seconds(time.wall), seconds(time.attributed), seconds(time.idle), seconds(time.overhead),
            _percent(time.utilisation), _methods(time, single=single), dollars(time.cost), dollars(time.idle_cost),
        )  # fmt: skip
    return table


def _percent(part: Decimal | None) -> str:
    return UNKNOWN if part is None else f"{100 * part:.1f} %"


def _methods(time: GpuTime, *, single: bool) -> str:
    if single:
        return next(iter(time.methods)) + (", provisional" if time.provisional else "")
    return ", ".join(f"{method} {count}" if len(time.methods) > 1 else method for method, count in time.methods.items())


def _remark(times: Sequence[GpuTime]) -> None:
    provisional = sum(time.provisional for time in times)
    if provisional:
        click.echo(f"{provisional:,} of the windows are provisional: calls in them aren't all settled yet.")
    if not any(time.cost for time in times):
        click.echo("The price book has no price for a GPU-hour: 'orchestrator prices set --help' says how to set one.")
