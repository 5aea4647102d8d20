"""`db`, `doctor` and `config`: the installation itself."""

import json
import sys
from typing import cast

import anyio
import click
from rich.console import Console
from rich.markup import escape

from orchestrator.database import Database
from orchestrator.local import examine
from orchestrator.plugins import migrations, schema_version
from orchestrator.settings import Settings

__all__ = ["config", "db", "doctor"]

_MARKS = {"ok": "[green]✔[/]", "warning": "[yellow]![/]", "missing": "[red]✘[/]"}


@click.group()
def db() -> None:
    """The database's schema."""


@db.command()
@click.pass_obj
def upgrade(settings: Settings) -> None:
    """Bring the database to the version that this installation needs."""
    before, after = anyio.run(_upgrade, settings)
    click.echo(f"at version {after} already" if before == after else f"upgraded from {before or 'nothing'} to {after}")


async def _upgrade(settings: Settings) -> tuple[str | None, str]:
    async with Database.open(settings.database_url) as database:
        before = await schema_version(database)
        await migrations().upgrade(database)
        return before, migrations().head()


@db.command()
@click.pass_obj
def version(settings: Settings) -> None:
    """Show the database's version and the one that is needed."""

    async def read() -> str | None:
        async with Database.open(settings.database_url) as database:
            return await schema_version(database)

    click.echo(f"database {anyio.run(read) or 'none'}, needed {migrations().head()}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def doctor(settings: Settings, as_json: bool) -> None:
    """Say what is there, what is missing and what to type. Exits with 1 where something is missing."""
    checks = anyio.run(examine, settings)
    if as_json:
        click.echo(json.dumps([vars(check) for check in checks]))
    else:
        console = Console()
        for check in checks:
            console.print(f"{_MARKS[check.state]} [bold]{check.name}[/] {escape(check.detail)}", highlight=False)
            if check.remedy:
                console.print(f"    {escape(check.remedy)}", highlight=False)
    if any(check.state == "missing" for check in checks):
        sys.exit(1)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def config(settings: Settings, as_json: bool) -> None:
    """Show every setting with its value; secrets stay hidden."""
    values = settings.model_dump(mode="json")
    if as_json:
        click.echo(json.dumps(values))
        return
    for name, value in sorted(_flat(values)):
        text = value if isinstance(value, str) else "" if value is None else json.dumps(value)
        click.echo(f"ORCHESTRATOR_{name.upper()}={text}")


def _flat(values: dict[str, object], prefix: str = "") -> list[tuple[str, object]]:
    flat: list[tuple[str, object]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            flat += _flat(cast("dict[str, object]", value), f"{prefix}{name}__")
        else:
            flat.append((prefix + name, value))
    return flat
