"""`reconcile`: whether the ledger has every token that the engines counted, and no more."""

import sys
from collections.abc import Sequence

import anyio
import click
import httpx
from pydantic import TypeAdapter
from rich.markup import escape
from rich.table import Table

from orchestrator.cli.render import UNKNOWN, show_in_full, tokens
from orchestrator.database import Database
from orchestrator.errors import ConfigurationError
from orchestrator.ledger.timeframes import timeframe
from orchestrator.reconciliation import Quantity, Reconciliation, Sampler
from orchestrator.reconciliation import reconcile as compare
from orchestrator.session import RunningStack, upgraded_database
from orchestrator.settings import Settings

__all__ = ["reconcile"]

DIFFERS = 1


@click.command()
@click.option("--since", help="From this date, time, or so long ago (7d, 24h, 30m).")
@click.option("--until", help="Up to it.")
@click.option("--server", help="URL of one engine; by default all.")
@click.option("--sample", "sampled", is_flag=True, help="First ask the configured engines for their counters.")
@click.option(
    "--fail-over",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="TOKENS",
    help="Exit with 1 where ledger and engine differ by more tokens of a kind.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def reconcile(
    settings: Settings,
    since: str | None,
    until: str | None,
    server: str | None,
    sampled: bool,
    fail_over: int,
    as_json: bool,
) -> None:
    """Hold the ledger against what the engines themselves counted, token by token.

    Stretches of time with attempts that are still open can't be judged yet, and are no failure.
    """
    period = timeframe(since, until)

    async def read() -> Sequence[Reconciliation]:
        async with upgraded_database(settings) as database:
            if sampled:
                await _sample(settings, database, server)
            return await compare(database, period, server=server)

    found = anyio.run(read)
    if as_json:
        click.echo(TypeAdapter(Sequence[Reconciliation]).dump_json(found))
    elif found:
        show_in_full(_table(found))
    else:
        click.echo(
            "There are no two snapshots of an engine's counters to compare yet: workers take one every half minute, "
            "and --sample takes one now."
        )
    differing = [each for each in found if each.final and (each.drift is None or each.drift > fail_over)]
    if differing:
        click.secho(f"error: {_worst(differing)}", fg="red", err=True)
        sys.exit(DIFFERS)


async def _sample(settings: Settings, database: Database, server: str | None) -> None:
    urls: Sequence[str] = [str(url).rstrip("/") for url in settings.engine.urls]
    if not urls and (stack := RunningStack.find(settings)) is not None:
        urls = stack.engine_urls
    if server is not None:
        urls = [server]
    if not urls:
        raise ConfigurationError(
            "no engine is configured, and none runs on this state folder",
            remedy="Set ORCHESTRATOR_ENGINE__URLS, name one by --server, or start 'orchestrator dev'.",
        )
    async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
        for url in urls:
            await Sampler(database, http, server=url, pool=settings.engine.pool).sample()


def _table(found: Sequence[Reconciliation]) -> Table:
    table = Table("server", "since", "until")
    for column in ("requests", "prompt", "cached", "output", "drift", "coverage"):
        table.add_column(column, justify="right")
    table.add_column("")
    for each in found:
        drift = each.drift
        table.add_row(
            escape(each.server),
            f"{each.since:%Y-%m-%d %H:%M:%S}",
            f"{each.until:%Y-%m-%d %H:%M:%S}",
            *(_both(quantity) for quantity in (each.requests, *each.tokens)),
            UNKNOWN if drift is None else f"[red]{drift:,}[/]" if drift else "[green]0[/]",
            _coverage(each),
            _notes(each),
        )
    table.caption = "ledger / engine where they differ; times are UTC"
    return table


def _both(quantity: Quantity) -> str:
    if quantity.ledger == quantity.engine:
        return tokens(quantity.ledger)
    return f"{tokens(quantity.ledger)} / {tokens(quantity.engine)}"


def _coverage(each: Reconciliation) -> str:
    covered = [quantity.coverage for quantity in each.tokens if quantity.coverage is not None]
    return f"{min(covered):.2%}" if covered else UNKNOWN


def _notes(each: Reconciliation) -> str:
    notes: list[str] = []
    if each.open:
        notes.append(f"[yellow]{each.open:,} open[/]")
    if each.estimated:
        notes.append(f"{each.estimated:,} estimated")
    if each.retracted_tokens:
        notes.append(f"{each.retracted_tokens:,} retracted")
    return ", ".join(notes)


def _worst(differing: Sequence[Reconciliation]) -> str:
    """The one line that says what is wrong."""
    worst = max(differing, key=lambda each: float("inf") if each.drift is None else each.drift)
    where = f"{worst.server} from {worst.since:%Y-%m-%d %H:%M:%S} to {worst.until:%Y-%m-%d %H:%M:%S} UTC"
    if worst.drift is None:
        return f"the engine at {where} doesn't expose what the ledger has: is it started with --enable-metrics?"
    missing = any((quantity.drift or 0) < 0 for quantity in worst.tokens)
    cause = (
        "calls went past the orchestrator, or their attempts aren't in this database"
        if missing
        else "calls are estimated, or the engine started again unnoticed"
    )
    return f"ledger and engine differ by up to {worst.drift:,} tokens, at {where}: {cause}"
