"""The root of the command line: settings in, errors out. Commands import what they run only when they run."""

import ast
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import click

from orchestrator.errors import OrchestratorError
from orchestrator.settings import Settings

__all__ = ["cli", "main"]

_COMMANDS = {
    "backtest": "orchestrator.cli.backtest",
    "dev": "orchestrator.cli.serving",
    "worker": "orchestrator.cli.working",
    "serve": "orchestrator.cli.serving",
    "run": "orchestrator.cli.running",
    "runs": "orchestrator.cli.books",
    "cost": "orchestrator.cli.costs",
    "limits": "orchestrator.cli.budgets",
    "prices": "orchestrator.cli.prices",
    "questions": "orchestrator.cli.questions",
    "quote": "orchestrator.cli.quote",
    "receipt": "orchestrator.cli.receipt",
    "reconcile": "orchestrator.cli.reconcile",
    "reply": "orchestrator.cli.questions",
    "sweep": "orchestrator.cli.sweep",
    "top-up": "orchestrator.cli.budgets",
    "db": "orchestrator.cli.installation",
    "gpu": "orchestrator.cli.gpu",
    "doctor": "orchestrator.cli.installation",
    "config": "orchestrator.cli.installation",
}


class _LazyGroup(click.Group):
    """Finds commands by name, ours and those that other packages add, and imports only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from orchestrator.plugins import command_entry_points

        return sorted({*_COMMANDS, *(point.name for point in command_entry_points())})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _COMMANDS:
            return getattr(import_module(_COMMANDS[cmd_name]), cmd_name.replace("-", "_"))
        from orchestrator.plugins import command_entry_points

        for point in command_entry_points():
            if point.name == cmd_name:
                return point.load()
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands with their summaries, without importing them: that would take seconds."""
        from orchestrator.plugins import command_entry_points

        places = {name: (module, name.replace("-", "_")) for name, module in _COMMANDS.items()}
        places |= {point.name: (point.module, point.attr) for point in command_entry_points()}
        room = formatter.width - 6 - max(map(len, places))
        described = [click.Command(name, help=_docstring(*place)) for name, place in sorted(places.items())]
        rows = [(str(command.name), command.get_short_help_str(room)) for command in described]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _docstring(module: str, name: str) -> str:
    """What a function of a module says of itself, read from the source; nothing where there is none to read."""
    package, *parts = module.split(".")
    spec = find_spec(package)  # of the outermost package: to find one inside it would import it
    if spec is None or spec.origin is None:
        return ""
    source = Path(spec.origin).parent.joinpath(*parts).with_suffix(".py") if parts else Path(spec.origin)
    try:
        tree = ast.parse(source.read_bytes())
    except OSError:
        return ""
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    return next((ast.get_docstring(function) or "" for function in functions), "")


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="reasoning-orchestrator")
@click.pass_context
def cli(context: click.Context) -> None:
    """Durable reasoning workflows on Temporal and SGLang, with the true cost of every completed run.

    Settings come from ORCHESTRATOR_... variables and orchestrator.toml; 'orchestrator config' shows them.
    """
    context.obj = Settings.load()


def main() -> NoReturn:
    """Runs the command line; our own errors become one line and an exit code."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else str(error))
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except OrchestratorError as error:
        click.secho(f"error: {error}", fg="red", err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
    sys.exit(0)
