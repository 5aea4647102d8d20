"""Holds the documentation against the code: `python docs/check.py [--write]`.

`docs/cli.md` must be what the command line says of itself; every `orchestrator` command in a document must parse, and
every Python block in the README must run.
"""

import re
import shlex
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import click

from orchestrator.cli import cli

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "cli.md"
DOCUMENTS = [ROOT / "README.md", *ROOT.glob("examples/*/README.md")]


def reference() -> str:
    """The command line's own help, as one page."""
    parts = ["# Command line\n\nMade by `make docs`; do not edit.\n"]
    for context in _commands(click.Context(cli, info_name="orchestrator", max_content_width=100, terminal_width=100)):
        parts += [f"## {context.command_path}\n\n```text\n{context.get_help()}\n```\n"]
    return "\n".join(parts)


def _commands(context: click.Context) -> Iterator[click.Context]:
    yield context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            assert command is not None
            yield from _commands(
                click.Context(command, info_name=name, parent=context, max_content_width=100, terminal_width=100)
            )


def bad_commands(document: Path) -> Iterator[str]:
    """Lines that call `orchestrator` in a way that it wouldn't understand."""
    for line in document.read_text().splitlines():
        if not (found := re.match(r"(?:    |\$ )?orchestrator (.*)", line)):
            continue
        words = shlex.split(found[1], comments=True)
        command: click.Command = cli
        context = click.Context(cli, info_name="orchestrator")
        try:
            while isinstance(command, click.Group) and words:
                name, resolved, words = command.resolve_command(context, words)
                assert resolved is not None
                command, context = resolved, click.Context(resolved, info_name=name, parent=context)
            command.make_parser(context).parse_args(words)
        except click.ClickException as error:
            yield f"{document.relative_to(ROOT)}: {line.strip()!r}: {error.format_message()}"


def bad_blocks(document: Path) -> Iterator[str]:
    """Python blocks that don't run. Each is a module of its own, as it would be for a reader."""
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL), 1):
        module = types.ModuleType(f"readme_block_{number}")
        sys.modules[module.__name__] = module
        try:
            exec(compile(block, f"{document.name}, block {number}", "exec"), module.__dict__)  # noqa: S102
        except Exception as error:
            yield f"{document.name}, Python block {number}: {type(error).__name__}: {error}"


def main() -> None:
    """Checks, or writes what is generated."""
    if "--write" in sys.argv:
        REFERENCE.write_text(reference())
        return
    problems = [problem for document in DOCUMENTS for problem in bad_commands(document)]
    problems += bad_blocks(ROOT / "README.md")
    if not REFERENCE.exists() or REFERENCE.read_text() != reference():
        problems.append("docs/cli.md is out of date: type 'make docs'")
    for problem in problems:
        print(problem, file=sys.stderr)  # noqa: T201
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
