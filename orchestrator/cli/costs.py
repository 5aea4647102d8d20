"""`cost`: what completed workflows cost, on a terminal, as JSON, as CSV, and as a FOCUS dataset."""

import csv
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal

import anyio
import click
from rich.markup import escape
from rich.table import Table

from orchestrator.cli.render import dollars, show_in_full, tokens
from orchestrator.ledger import By, CostLine, CostReport, cost_report, focus_rows, timeframe
from orchestrator.ledger.focus import COLUMNS
from orchestrator.session import upgraded_database
from orchestrator.settings import Settings
from orchestrator.usage import Outcome

__all__ = ["cost"]

UNKNOWN = "-"
WASTED = tuple(outcome.value for outcome in Outcome if outcome.is_waste)
FIGURES = (
    "runs", "completed", "passed", "calls", "prompt_tokens", "cached_tokens", "output_tokens", "reasoning_tokens",
    "gpu_seconds", "cost", *WASTED, "waste", "idle", "cost_per_completed", "cost_of_pass", "cache_savings", "estimated",
    "kept_results", "saved", "saved_tokens",
)  # fmt: skip


@click.command()
@click.option(
    "--by",
    type=click.Choice([by.value for by in By]),
    default=By.WORKFLOW.value,
    show_default=True,
    help="What the lines are about.",
)
@click.option("--since", help="From then on: a date, a time, or how long ago: 7d, 24h.")
@click.option("--until", help="Up to then, which is not in it any more; written the same way.")
@click.option("--tenant", help="Only this tenant's; by default everybody's.")
@click.option("--workflow", help="Only runs of this workflow, with the runs that they started.")
@click.option("--book", help="Price past calls by this price book, not by what they were charged.")
@click.option("--json", "form", flag_value="json", help="Print JSON.")
@click.option("--csv", "form", flag_value="csv", help="Print CSV, with exact decimals and without the totals.")
@click.option("--focus", "form", flag_value="focus", help="Print a FOCUS 1.2 dataset as CSV, by day and tenant.")
@click.pass_obj
def cost(
    settings: Settings,
    by: str,
    since: str | None,
    until: str | None,
    tenant: str | None,
    workflow: str | None,
    book: str | None,
    form: str | None,
) -> None:
    """Show what a completed run costs: failed runs, waste and the share in idle GPUs included.

    A charge is in the period in which it was settled, a run in the one in which it ended. Days are in UTC.
    """
    between = timeframe(since, until)
    if form == "focus" and book is not None:
        raise click.UsageError("--focus says what was charged; it can't be priced by another --book.")

    async def export() -> Sequence[Mapping[str, str | None]]:
        async with upgraded_database(settings) as database:
            return await focus_rows(database, timeframe=between, tenant=tenant, workflow=workflow)

    async def read() -> CostReport:
        async with upgraded_database(settings) as database:
            return await cost_report(
                database, by=By(by), timeframe=between, tenant=tenant, workflow=workflow, book=book
            )

    if form == "focus":
        _print_csv(COLUMNS, ([row[name] for name in COLUMNS] for row in anyio.run(export)))
        return
    report = anyio.run(read)
    if form == "json":
        click.echo(report.model_dump_json())
    elif form == "csv":
        _print_csv([*report.by.names, *FIGURES], map(_exact, report.lines))
    elif not report.lines and not report.total.runs:
        click.echo("There are no runs in this period." if since or until else "There are no runs yet.")
    else:
        _show(report)


def _print_csv(header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)


def _exact(line: CostLine) -> list[object]:
    waste = line.waste.model_dump()
    values: dict[str, object] = {
        **line.model_dump(include=set(FIGURES)),
        **{name: waste[name] for name in WASTED},
        "waste": line.waste.total,
        "kept_results": line.saved.results,
        "saved": line.saved.usd,
        "saved_tokens": line.saved.tokens,
        "gpu_seconds": Decimal(line.gpu.days * 86_400 + line.gpu.seconds) + Decimal(line.gpu.microseconds).scaleb(-6),
    }
    figures = [values[name] for name in FIGURES]
    return [*line.group.values(), *(f"{figure:f}" if isinstance(figure, Decimal) else figure for figure in figures)]


Show = Callable[[CostLine], str]


def _show(report: CostReport) -> None:
    everything = [*report.lines, report.total]
    columns = _columns(report, everything)
    table = Table(*report.by.names)
    for heading, _ in columns:
        table.add_column(heading, justify="right")
    for line in report.lines:
        group = [UNKNOWN if part is None else escape(part) for part in line.group.values()]
        table.add_row(*group, *(show(line) for _, show in columns))
    table.add_section()
    label = ["total", *("" for _ in report.by.names[1:])]
    table.add_row(*label, *(show(report.total) for _, show in columns), style="bold")
    show_in_full(table)
    if report.total.idle:
        used = f", of which {dollars(report.idle_unshared)} in pools that nobody used" if report.idle_unshared else ""
        click.echo(f"GPUs idle or overhead: {dollars(report.total.idle)}{used}. It is not in the cost.")
    for unpriced in report.unpriced:
        where = f" in pool {unpriced.pool}" if unpriced.pool else ""
        calls = "1 call" if unpriced.calls == 1 else f"{unpriced.calls:,} calls"
        click.echo(
            f"Not in the cost, for want of a price in book {report.book}: {calls} of "
            f"{unpriced.model}{where}, {unpriced.tokens:,} tokens."
        )


def _columns(report: CostReport, lines: Sequence[CostLine]) -> list[tuple[str, Show]]:
    """The columns that say something in this report."""
    own_runs = not report.by.divides_runs
    checked = own_runs and report.total.passed is not None
    cached = report.total.cached_tokens != 0
    kept = report.total.saved.results != 0
    wasted = [name for name in WASTED if any(getattr(line.waste, name) for line in lines)]
    columns: list[tuple[bool, str, Show]] = [
        (own_runs, "runs", lambda line: tokens(line.runs)),
        (own_runs, "completed", lambda line: tokens(line.completed)),
        (checked, "passed", lambda line: tokens(line.passed)),
        (True, "tokens", lambda line: tokens(line.tokens)),
        (True, "cost", lambda line: dollars(line.cost)),
        *((True, name, _wasted(name)) for name in wasted),
        (report.total.idle != 0, "idle share", lambda line: dollars(line.idle)),
        (True, "cost per completed run", lambda line: dollars(line.cost_per_completed)),
        (checked, "cost of pass", lambda line: dollars(line.cost_of_pass)),
        (cached, "cached", lambda line: tokens(line.cached_tokens)),
        (cached, "saved", lambda line: dollars(line.cache_savings)),
        (kept, "kept results", lambda line: tokens(line.saved.results)),
        (kept, "saved by these", lambda line: dollars(line.saved.usd)),
        (report.total.estimated != 0, "estimated", _estimated),
    ]
    return [(heading, show) for says_something, heading, show in columns if says_something]


def _wasted(name: str) -> Show:
    return lambda line: dollars(getattr(line.waste, name))


def _estimated(line: CostLine) -> str:
    return UNKNOWN if line.estimated_share is None else f"{line.estimated_share:.1%}"
