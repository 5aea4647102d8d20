"""`prices`: what calls are charged, by book, model, pool and date."""

from collections.abc import Sequence
from pathlib import Path

import anyio
import click
from pydantic import TypeAdapter
from rich.markup import escape
from rich.table import Table

from orchestrator.cli.render import dollars, show_in_full
from orchestrator.database import now
from orchestrator.errors import PricesRefused
from orchestrator.ledger import Added, NewPrice, PriceRow, add_prices, prices_of
from orchestrator.ledger.list_prices import LIST_PRICES, list_prices
from orchestrator.ledger.price_entry import entered, read_prices
from orchestrator.ledger.pricebooks import ANY
from orchestrator.ledger.prices import DEFAULT_BOOK
from orchestrator.ledger.timeframes import moment
from orchestrator.session import upgraded_database
from orchestrator.settings import Settings

__all__ = ["prices"]

OPEN = "-"

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_book = click.option(
    "--book", default=DEFAULT_BOOK, show_default=True, help="The price book; runs are charged by the default one."
)
_from = click.option("--from", "valid_from", help="From then on: a date or a time; by default from now on.")


@click.group()
def prices() -> None:
    """What calls are charged, by book, model, pool and date.

    Rows are added and never changed: a row without an end is succeeded by one with a later start. Calls that were made
    keep the prices that they were charged at; 'orchestrator cost --book' prices past ones by a book.
    """


@prices.command("list")
@click.option("--book", help="Only this book's; by default all books'.")
@click.option("--at", help="The rows in force then: a date, a time, or how long ago; by default now.")
@click.option("--all", "every", is_flag=True, help="Past and future rows too.")
@_json
@click.pass_obj
def list_rows(settings: Settings, book: str | None, at: str | None, every: bool, as_json: bool) -> None:
    """List the rows in force. In US dollars, for a million tokens or for a GPU-hour."""
    if every and at is not None:
        raise click.UsageError("--all lists the rows of all times: leave --at away.")
    when = None if at is None else moment(at, what="--at")

    async def read() -> Sequence[PriceRow]:
        async with upgraded_database(settings) as database:
            return await prices_of(database, book=book, at=when, every=every)

    rows = anyio.run(read)
    if as_json:
        click.echo(TypeAdapter(Sequence[PriceRow]).dump_json(rows))
    elif rows:
        show_in_full(_table(rows))
    else:
        click.echo("There are no prices: calls are charged by ORCHESTRATOR_PRICE__INPUT and its siblings.")


@prices.command("set")
@_book
@click.option("--model", required=True, help=f"As the engine calls it; {ANY} for any.")
@click.option("--pool", default=ANY, show_default=True, help=f"Of engines; {ANY} for any.")
@click.option("--input", "input_", help="US dollars for a million uncached prompt tokens.")
@click.option("--cached", help="For a million prompt tokens from the prefix cache.")
@click.option("--output", help="For a million generated tokens.")
@click.option("--gpu-hour", help="For a GPU-hour; then tokens have no price of their own.")
@_from
@click.option("--until", help="Up to then, which is not in it any more; by default without an end.")
@click.option("--currency", default="USD", show_default=True, help="Only USD: the ledger is kept in it.")
@_json
@click.pass_obj
def set_row(
    settings: Settings, input_: str | None, valid_from: str | None, as_json: bool, **fields: str | None
) -> None:
    """Add a row to a price book."""
    entry = {**fields, "input": input_, "from": valid_from}
    what = f"the price of {fields['model']}"
    try:
        row = entered(entry, default={"from": now()})
    except ValueError as error:
        raise PricesRefused(what, [str(error)]) from error
    _report(_add(settings, [row], what=what), as_json=as_json)


@prices.command("import")
@click.argument("source", metavar=f"FILE|{LIST_PRICES}")
@_book
@click.option("--pool", default=ANY, show_default=True, help="Of rows that name none.")
@click.option("--provider", help=f"Whose list prices: openai, anthropic, ... Only with {LIST_PRICES}.")
@click.option("--model", "models", multiple=True, help=f"Only this one; may be given again. Only with {LIST_PRICES}.")
@_from
@_json
@click.pass_obj
def import_rows(
    settings: Settings,
    source: str,
    book: str,
    pool: str,
    provider: str | None,
    models: tuple[str, ...],
    valid_from: str | None,
    as_json: bool,
) -> None:
    """Add the rows of a file, all or none, or list prices of hosted models.

    A .toml file has [[prices]] tables, a .json file {"prices": [...]}, a .csv file a header. The fields are model,
    pool, input, cached, output, gpu_hour, from, until, currency, source and book. 'genai-prices' is the package of that
    name, with the list prices of many providers; it is asked offline.
    """
    begin = now() if valid_from is None else moment(valid_from, what="--from")
    notices: Sequence[str] = ()
    if source == LIST_PRICES:
        if provider is None:
            raise click.UsageError(f"Say whose prices: {LIST_PRICES} --provider openai")
        listed = list_prices(provider, models, book=book, pool=pool, valid_from=begin)
        rows, notices = listed.rows, listed.notices
    elif provider is not None or models:
        raise click.UsageError(f"--provider and --model choose from {LIST_PRICES}; a file's rows are taken as they are")
    else:
        rows = read_prices(Path(source), default={"book": book, "pool": pool, "from": begin})
    added = _add(settings, rows, what=Path(source).name)
    _report(added.model_copy(update={"notices": [*notices, *added.notices]}), as_json=as_json)


def _add(settings: Settings, rows: Sequence[NewPrice], *, what: str) -> Added:
    async def write() -> Added:
        async with upgraded_database(settings) as database:
            return await add_prices(database, rows, what=what)

    return anyio.run(write)


def _report(added: Added, *, as_json: bool) -> None:
    if as_json:
        click.echo(added.model_dump_json())
        return
    show_in_full(_table(added.rows))
    for notice in added.notices:
        click.echo(f"note: {notice}")


def _table(rows: Sequence[PriceRow]) -> Table:
    table = Table("book", "model", "pool")
    for column in ("input", "cached", "output", "GPU-hour", "from", "until"):
        table.add_column(column, justify="right")
    table.add_column("source")
    for row in rows:
        table.add_row(
            escape(row.book), escape(row.model), escape(row.pool), dollars(row.input), dollars(row.cached),
            dollars(row.output), dollars(row.gpu_hour), f"{row.valid_from:%Y-%m-%d %H:%M}",
            OPEN if row.valid_until is None else f"{row.valid_until:%Y-%m-%d %H:%M}", escape(row.source),
        )  # fmt: skip
    return table
