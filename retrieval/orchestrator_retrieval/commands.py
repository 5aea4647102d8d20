"""`orchestrator collections`: makes, fills and searches collections from the command line.

What the commands need to run is imported when they run, so that showing their help is fast.
"""

import json
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click

from orchestrator.settings import Settings

if TYPE_CHECKING:
    from orchestrator_retrieval.store import Added, Collections, Progress

__all__ = ["collections"]


@dataclass(frozen=True)
class _Scope:
    """What every command of the group works on."""

    settings: Settings
    tenant: str

    @asynccontextmanager
    async def open(self) -> "AsyncGenerator[Collections]":
        from orchestrator.session import upgraded_database
        from orchestrator_retrieval.embedder import installed_embedder
        from orchestrator_retrieval.store import Collections

        async with upgraded_database(self.settings) as database:
            yield Collections(database, installed_embedder())


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
@click.option("--tenant", help="Whose collections; by default the tenant of the settings.")
@click.pass_context
def collections(context: click.Context, tenant: str | None) -> None:
    """Collections of documents that workflows retrieve passages from."""
    settings = context.find_object(Settings)
    assert settings is not None
    context.obj = _Scope(settings, tenant or settings.tenant)


@collections.command()
@click.argument("name")
@click.pass_obj
def create(scope: _Scope, name: str) -> None:
    """Make the empty collection NAME."""
    from orchestrator_retrieval.embedder import installed_embedder

    async def run() -> bool:
        async with scope.open() as store:
            return await store.create(scope.tenant, name)

    made = anyio.run(run)
    click.echo(f"Created {name}." if made else f"{name} is there already.")
    if installed_embedder() is None:
        click.echo(
            "It is searched by words only: pip install 'reasoning-orchestrator[retrieval]' adds meaning.", err=True
        )


@collections.command()
@click.argument("name")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--python-reference", is_flag=True, help="Add the language reference that every Python carries.")
@as_json
@click.pass_obj
def add(scope: _Scope, name: str, paths: tuple[Path, ...], python_reference: bool, as_json: bool) -> None:
    """Add files, and the text files of folders, to the collection NAME.

    What is there already is left alone if it is the same, and replaced if it isn't.
    """
    from orchestrator_retrieval import documents

    if not paths and not python_reference:
        raise click.UsageError("give a file or a folder to add, or --python-reference")
    given, skipped = documents.read_documents(paths)
    if python_reference:
        given += documents.python_reference()

    async def run() -> "Added":
        async with scope.open() as store:
            with _progress() as progress:
                return await store.add(scope.tenant, name, given, progress=progress)

    result = anyio.run(run)
    if as_json:
        left_out = [{"path": str(item.path), "reason": item.reason} for item in skipped]
        click.echo(json.dumps({**asdict(result), "skipped": left_out}))
        return
    counts = {"added": result.added, "replaced": result.replaced, "unchanged": result.unchanged, "skipped": skipped}
    click.echo(", ".join(f"{len(items)} {what}" for what, items in counts.items()))
    for item in skipped:
        click.echo(f"skipped {item.path}: {item.reason}")


@collections.command()
@click.argument("name")
@click.argument("query")
@click.option("-k", default=5, show_default=True, help="How many passages.")
@as_json
@click.pass_obj
def search(scope: _Scope, name: str, query: str, k: int, as_json: bool) -> None:
    """Find the passages of the collection NAME that fit QUERY best."""
    from orchestrator.passages import SearchResult
    from orchestrator.session import upgraded_database
    from orchestrator_retrieval.retriever import open_retriever

    async def run() -> SearchResult:
        async with (
            upgraded_database(scope.settings) as database,
            open_retriever(scope.settings, database) as retriever,
        ):
            return await retriever.search(scope.tenant, name, query, k=k)

    result = anyio.run(run)
    if as_json:
        click.echo(result.model_dump_json())
        return
    for passage in result.passages:
        click.echo(f"{click.style(passage.id, bold=True)}  {passage.score:.4f}")
        click.echo(_excerpt(passage.text) + "\n")
    click.echo(f"{len(result.passages)} passages by {result.mode}", err=True)


@collections.command("list")
@as_json
@click.pass_obj
def list_(scope: _Scope, as_json: bool) -> None:
    """List the collections and how much is in each."""

    async def run() -> list[dict[str, str | int]]:
        async with scope.open() as store:
            return [asdict(summary) for summary in await store.summaries(scope.tenant)]

    found = anyio.run(run)
    if as_json:
        click.echo(json.dumps(found))
        return
    if not found:
        click.echo("There is no collection yet: 'orchestrator collections create NAME' makes one.")
    for summary in found:
        click.echo(
            f"{summary['name']}: {summary['documents']} documents, {summary['chunks']} passages, "
            f"{summary['embedder'] or 'by words only'}"
        )


@collections.command()
@click.argument("name")
@click.argument("document")
@click.pass_obj
def remove(scope: _Scope, name: str, document: str) -> None:
    """Remove DOCUMENT from the collection NAME."""

    async def run() -> None:
        async with scope.open() as store:
            await store.remove(scope.tenant, name, document)

    anyio.run(run)
    click.echo(f"Removed {document} from {name}.")


@contextmanager
def _progress() -> "Generator[Progress]":
    """A bar on the terminal while there is something to embed; nothing where standard error is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("embedding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("embedding", total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


def _excerpt(text: str, lines: int = 4) -> str:
    """The first lines of a passage."""
    return "\n".join(f"    {line}" for line in text.splitlines()[:lines])
