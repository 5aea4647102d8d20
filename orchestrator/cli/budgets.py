"""`top-up` and `limits`: what runs and tenants may spend."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import anyio
import click
from pydantic import BaseModel, TypeAdapter, ValidationError
from rich.markup import escape
from rich.table import Table

from orchestrator.budget import Allowance
from orchestrator.cli.render import dollars, show_in_full, tokens
from orchestrator.connect import connect
from orchestrator.errors import InvalidInput, UnknownName
from orchestrator.ledger import Account, Period, clear_limit, set_limit, tenant_limits
from orchestrator.plugin import client_plugin
from orchestrator.runs import Runs
from orchestrator.session import RunningStack, upgraded_database
from orchestrator.settings import Settings
from orchestrator.steps import TopUp
from orchestrator.tool import problem_of
from orchestrator.usage import usd_from_nano

__all__ = ["limits", "top_up"]

M = TypeVar("M", bound=BaseModel)


class _Amount(click.ParamType[Decimal]):
    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        try:
            return Decimal(value)
        except InvalidOperation:
            self.fail(f"{value!r} is no number", param, ctx)


_usd = click.option("--usd", type=_Amount(), help="US dollars, to the nano-dollar.")
_tokens = click.option("--tokens", "count", type=int, help="Prompt and output tokens together.")
_gpu_seconds = click.option("--gpu-seconds", type=_Amount(), help="GPU time.")
_calls = click.option("--calls", type=int, help="Attempts of engine calls.")
_tenant = click.argument("tenant")
_period = click.option(
    "--per", "period", type=click.Choice(["day", "month"]), required=True, help="Both begin at midnight, UTC."
)


@click.command()
@click.argument("run_id", metavar="RUN")
@_usd
@_tokens
@_gpu_seconds
@_calls
@click.option("--wall", type=float, help="Seconds.")
@click.pass_obj
def top_up(
    settings: Settings,
    run_id: str,
    usd: Decimal | None,
    count: int | None,
    gpu_seconds: Decimal | None,
    calls: int | None,
    wall: float | None,
) -> None:
    """Add to the budget of RUN. If it waits for that, it goes on."""
    amount = _valid(
        TopUp,
        "the top-up",
        usd=usd,
        tokens=count,
        gpu_seconds=gpu_seconds,
        calls=calls,
        wall=None if wall is None else timedelta(seconds=wall),
    )
    anyio.run(_top_up, settings, run_id, amount)
    click.echo(f"added to the budget of {run_id}")


async def _top_up(settings: Settings, run_id: str, amount: TopUp) -> None:
    stack = RunningStack.find(settings)
    async with upgraded_database(settings) as database:
        client = await connect([client_plugin()], address=stack.temporal_address if stack else None)
        await Runs(client, database, []).top_up(run_id, amount)


@click.group()
def limits() -> None:
    """What tenants may spend in a day or a month."""


@limits.command("list")
@click.option("--tenant", help="Only this tenant's.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_limits(settings: Settings, tenant: str | None, as_json: bool) -> None:
    """Show the limits, and how far they are used up."""

    async def read() -> Sequence[Account]:
        async with upgraded_database(settings) as database:
            return await tenant_limits(database, tenant)

    accounts = anyio.run(read)
    if as_json:
        click.echo(TypeAdapter(Sequence[Account]).dump_json(accounts))
        return
    if not accounts:
        click.echo("No tenant is limited. 'orchestrator limits set TENANT --per day --usd 10' limits one.")
        return
    table = Table("tenant", "per")
    for column in ("limit", "spent", "reserved", "tokens", "of", "calls", "of", "GPU s", "of"):
        table.add_column(column, justify="right")
    for account in accounts:
        limit, spent = account.limit, account.spent
        table.add_row(
            escape(account.tenant), account.period, dollars(limit.usd), dollars(usd_from_nano(spent.nano)),
            dollars(usd_from_nano(account.reserved.nano)), tokens(spent.tokens), tokens(limit.tokens),
            tokens(spent.calls), tokens(limit.calls), f"{spent.gpu_us / 1_000_000:,.1f}",
            "-" if limit.gpu_seconds is None else f"{limit.gpu_seconds:,.1f}",
        )  # fmt: skip
    show_in_full(table)


@limits.command("set")
@_tenant
@_period
@_usd
@_tokens
@_gpu_seconds
@_calls
@click.pass_obj
def set_limits(
    settings: Settings,
    tenant: str,
    period: Period,
    usd: Decimal | None,
    count: int | None,
    gpu_seconds: Decimal | None,
    calls: int | None,
) -> None:
    """Limit what TENANT may spend, in all processes at once. What it has spent in the present period counts."""
    limit = _valid(Allowance, "the limit", usd=usd, tokens=count, gpu_seconds=gpu_seconds, calls=calls)
    if limit == Allowance():
        raise InvalidInput("the limit", "it limits nothing; give --usd, --tokens, --gpu-seconds or --calls")

    async def write() -> None:
        async with upgraded_database(settings) as database:
            await set_limit(database, tenant, period, limit)

    anyio.run(write)
    click.echo(f"limited {tenant} per {period}")


@limits.command("clear")
@_tenant
@_period
@click.pass_obj
def clear(settings: Settings, tenant: str, period: Period) -> None:
    """Take the limit of TENANT away."""

    async def write() -> None:
        async with upgraded_database(settings) as database:
            if not await clear_limit(database, tenant, period):
                known = [account.tenant for account in await tenant_limits(database) if account.period == period]
                raise UnknownName(f"tenant with a limit per {period}", tenant, known)

    anyio.run(write)
    click.echo(f"{tenant} has no limit per {period} any more")


def _valid(model: type[M], what: str, **values: object) -> M:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InvalidInput(what, problem_of(error)) from error
