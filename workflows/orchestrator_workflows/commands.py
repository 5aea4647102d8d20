"""`orchestrator demo`: the main job on real parts, with nothing to set up."""

import json
import sys
from collections.abc import Sequence
from datetime import timedelta

import anyio
import click
from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.panel import Panel

from orchestrator.cli.render import bill_table, follow, receipt_table
from orchestrator.cli.running import RUN_FAILED, as_object
from orchestrator.local import Progress, Report
from orchestrator.runs import Run
from orchestrator.session import Session, running_session
from orchestrator.settings import Settings
from orchestrator.steps import RunStatus
from orchestrator_retrieval import Collections, Document, installed_embedder, python_reference, read_documents
from orchestrator_workflows.answer import Answer, answer
from orchestrator_workflows.contest import AT_MOST, Bout, contest, show_bout, show_contest, tally
from orchestrator_workflows.puzzles import puzzles
from orchestrator_workflows.shipped import app

__all__ = ["demo"]

QUESTION = "What does the finally clause of a try statement do?"
MAX_TOKENS = 80
"""Beyond, a model this small repeats itself."""
SECOND_ACT = timedelta(minutes=1)
"""After which no further puzzle is begun."""
SEED = 24


@click.command()
@click.option("--question", default=QUESTION, show_default=True, help="What to ask.")
@click.option("--folder", type=click.Path(exists=True), help="Texts to ask about, instead of Python's own reference.")
@click.option(
    "--puzzles", "count", type=click.IntRange(0, 100), default=6, show_default=True, help="Of the second act, at most."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, and nothing else.")
@click.pass_obj
def demo(settings: Settings, question: str, folder: str | None, count: int, as_json: bool) -> None:
    """Answer a question from the Python language reference, on real servers, and show the bill; then solve puzzles.

    Brings up Temporal, SGLang on this machine's CPU and the workers, indexes the reference that ships inside every
    Python, runs the workflow 'answer', and shuts it all down. Uses the stack of 'orchestrator dev' where one runs.
    In a second act the workflow 'solve' tries generated puzzles with one attempt, and beside it with the best of
    several and an exact check, and both bills are shown. It begins no puzzle after a minute.
    """
    finished, bouts = anyio.run(_demo, settings, question, folder, count, as_json)
    if as_json:
        second = {"puzzles": tally(bouts).model_dump(mode="json")} if bouts else {}
        click.echo(json.dumps(json.loads(as_object(finished)) | second))
    if finished.status is not RunStatus.COMPLETED:
        sys.exit(RUN_FAILED)


async def _demo(
    settings: Settings, question: str, folder: str | None, count: int, as_json: bool
) -> tuple[Run, Sequence[Bout]]:
    console = Console(stderr=True)
    collection, documents = _documents(folder)
    with Progress(console) as progress:
        async with running_session([app], settings, progress) as session:
            await _index(session, settings.tenant, collection, documents, progress)
            stack = session.stack
            console.print(
                f"\nTemporal UI {stack.temporal_ui}\nAPI {stack.api_url}/docs\n\n[bold]{escape(question)}[/]",
                highlight=False,
            )
            run_id = await session.runs.start(
                answer.signature.name,
                {"question": question, "collection": collection, "max_tokens": MAX_TOKENS},
                tenant=settings.tenant,
            )
            if stack.temporal_ui:
                console.print(f"[dim]{stack.temporal_ui}/namespaces/default/workflows/{run_id}[/]", soft_wrap=True)
            await follow(run_id, session.runs.events(run_id), console)
            finished = await session.runs.run(run_id)
            if not as_json:
                _show(finished, Console())
            return finished, await _second_act(session, settings, count, console, as_json)


async def _second_act(
    session: Session, settings: Settings, count: int, console: Console, as_json: bool
) -> Sequence[Bout]:
    if not count:
        return ()
    console.print(f"\n[bold]One attempt, and the best of {AT_MOST}, at the same puzzles[/]")
    with console.status("solving puzzles"):
        bouts = await contest(
            session,
            settings.tenant,
            puzzles(count, seed=SEED),
            within=SECOND_ACT,
            told=lambda bout: show_bout(bout, console),
        )
    if not as_json:
        show_contest(bouts, Console())
    return bouts


def _documents(folder: str | None) -> tuple[str, list[Document]]:
    if folder is None:
        return "python", list(python_reference())
    from pathlib import Path

    found, _ = read_documents([Path(folder)])
    return Path(folder).resolve().name, list(found)


async def _index(session: Session, tenant: str, name: str, documents: list[Document], report: Report) -> None:
    report("Index", "starting", f"{len(documents)} documents into {name!r}")
    collections = Collections(session.database, installed_embedder())

    def progress(done: int, total: int) -> None:
        report("Index", "starting", f"embedding {done} of {total} passages")

    await collections.create(tenant, name)
    added = await collections.add(tenant, name, documents, progress=progress)
    new = len(added.added) + len(added.replaced)
    report("Index", "ready", f"{name!r}: {new} documents added, {len(added.unchanged)} unchanged")


def _show(finished: Run, console: Console) -> None:
    if finished.error is not None:
        console.print(f"[red]{escape(finished.error.message)}[/]", highlight=False)
    else:
        result = Answer.model_validate(finished.result)
        console.print(Panel(Markdown(result.answer), title="Answer", title_align="left"))
        for source in result.sources:
            text = " ".join(source.text.split())
            console.print(f"[bold]{escape(source.passage)}[/] [dim]{escape(text[:160])}…[/]", highlight=False)
    console.print(receipt_table(finished))
    console.print(bill_table(finished.bill))
