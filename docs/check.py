"""Holds the documentation against the code: `python docs/check.py [--write]`.

`docs/cli.md` must be what the command line says of itself; every `orchestrator` command in a document must parse, and
every Python block in the README and in the pages that show programs must run.
"""

import re
import shlex
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from orchestrator.cli import cli

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "cli.md"
PROGRAMS = [ROOT / "README.md", ROOT / "docs" / "thinking.md", ROOT / "docs" / "tools.md"]
DOCUMENTS = [*PROGRAMS, ROOT / "docs" / "workflows.md", *ROOT.glob("examples/*/README.md")]


def reference() -> str:
    """The command line's own help, as one page."""
    parts = ["# Command line\n\nMade by `make docs`; do not edit.\n"]
    for context in _commands(_context(cli, "orchestrator")):
        parts += [f"## {context.command_path}\n\n```text\n{context.get_help()}\n```\n"]
    return "\n".join(parts)


def _commands(context: click.Context) -> Iterator[click.Context]:
    yield context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            assert command is not None
            yield from _commands(_context(command, name, context))


def _context(command: click.Command, name: str, parent: click.Context | None = None) -> click.Context:
    # With the settings of the real command line: a command keeps the help option that it is first asked for.
    settings: dict[str, Any] = {**cli.context_settings, "max_content_width": 100, "terminal_width": 100}
    return click.Context(command, info_name=name, parent=parent, **settings)


def bad_commands(document: Path) -> Iterator[str]:
    """Lines that call `orchestrator` in a way that it wouldn't understand."""
    for line in _code(document.read_text()):
        if (found := re.match(r"(?:\$ )?(?:[A-Z_]+=\S+ )*orchestrator(?: (.*))?$", line)) is None:
            continue
        try:
            _parse(shlex.split(found[1] or "", comments=True))
        except click.ClickException as error:
            yield f"{_shown(document)}: {line!r}: {error.format_message()}"
        except ValueError as error:
            yield f"{_shown(document)}: {line!r}: {error}"


def _shown(document: Path) -> Path:
    return document.relative_to(ROOT) if document.is_relative_to(ROOT) else document


def _code(text: str) -> Iterator[str]:
    """The lines of fenced and of indented blocks."""
    fenced = False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line.strip()


def _parse(words: list[str]) -> None:
    """Parses a command line, without running it."""
    if {"-h", "--help", "--version"} & {*words}:
        return
    command: click.Command = cli
    context = _context(cli, "orchestrator")
    while isinstance(command, click.Group):
        _, words, _ = command.make_parser(context).parse_args(words)
        if not words:
            return
        name, resolved, words = command.resolve_command(context, words)
        assert resolved is not None
        command, context = resolved, _context(resolved, str(name), context)
    command.make_context(context.info_name, words, parent=context.parent)


def bad_blocks(document: Path) -> Iterator[str]:
    """Python blocks that don't run. Each is a module of its own, as it would be for a reader."""
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL), 1):
        module = types.ModuleType(f"readme_block_{number}")
        sys.modules[module.__name__] = module
        try:
            exec(compile(block, f"{document.name}, block {number}", "exec"), module.__dict__)  # noqa: S102
        except Exception as error:
            yield f"{_shown(document)}, Python block {number}: {type(error).__name__}: {error}"
        finally:
            del sys.modules[module.__name__]


def stale_reference() -> Iterator[str]:
    """Whether the page of the command line says something else than the command line."""
    if not REFERENCE.exists() or REFERENCE.read_text() != reference():
        yield f"{REFERENCE.name} is out of date: type 'make docs'"


def main() -> None:
    """Checks, or writes what is generated."""
    if "--write" in sys.argv:
        REFERENCE.write_text(reference())
        return
    problems = [problem for document in DOCUMENTS for problem in bad_commands(document)]
    problems += [problem for document in PROGRAMS for problem in bad_blocks(document)]
    problems += stale_reference()
    for problem in problems:
        print(problem, file=sys.stderr)  # noqa: T201
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
