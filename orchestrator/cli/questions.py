"""`questions` and `reply`: what runs ask people."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import anyio
import click
from pydantic import JsonValue, TypeAdapter, ValidationError
from rich.markup import escape
from rich.table import Table

from orchestrator.cli.render import show_in_full
from orchestrator.connect import connect
from orchestrator.errors import InvalidInput
from orchestrator.inbox import Inbox, OpenQuestion
from orchestrator.plugin import client_plugin
from orchestrator.questions import Answer, Question, value_of
from orchestrator.runs import Runs
from orchestrator.session import RunningStack, upgraded_database
from orchestrator.settings import Settings
from orchestrator.tool import problem_of

__all__ = ["questions", "reply"]


@click.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--to", help="Only questions with this label.")
@click.option("--tenant", help="Only this tenant's; by default everybody's.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(min=1), help="Runs at most.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def questions(
    settings: Settings, run_id: str | None, to: str | None, tenant: str | None, limit: int, as_json: bool
) -> None:
    """List what runs ask people now, or what RUN asks, in full."""

    async def read() -> Sequence[OpenQuestion]:
        async with _inbox(settings) as inbox:
            if run_id is None:
                return await inbox.all(tenant=tenant, to=to, limit=limit)
            return [asked for asked in await inbox.of_run(run_id, tenant=tenant) if to in (None, asked.to)]

    asked = anyio.run(read)
    if as_json:
        click.echo(TypeAdapter(Sequence[OpenQuestion]).dump_json(asked))
        return
    if not asked:
        click.echo("Nothing is asked now.")
        return
    table = Table("run", "question", "to", "asked", "until", "what", "answer")
    for question in asked:
        until = f"{question.until:%Y-%m-%d %H:%M:%S}" if question.until else "-"
        table.add_row(
            escape(question.run_id), question.id, escape(question.to or "-"), f"{question.asked_at:%Y-%m-%d %H:%M:%S}",
            until, escape(_what(question)), escape(_answers(question)),
        )  # fmt: skip
    show_in_full(table)


@click.command()
@click.argument("run_id", metavar="RUN")
@click.argument("words", metavar="[QUESTION] ANSWER", nargs=-1, required=True)
@click.option("--reason", help="Why a tool may not be called; the model reads it.")
@click.option("--by", help="Who answers; kept with the answer.")
@click.pass_obj
def reply(settings: Settings, run_id: str, words: tuple[str, ...], reason: str | None, by: str | None) -> None:
    """Answer a question of RUN. QUESTION is its id, needed where RUN asks several.

    ANSWER is text where the question takes text, else JSON. Whether a tool may be called is answered with 'yes', 'no'
    or 'always': yes, and so for the rest of the run.
    """
    named: str | None = None
    match words:
        case (text,):
            pass
        case (named, text):
            pass
        case _:
            raise click.UsageError("write RUN [QUESTION] ANSWER; put an answer of several words in quotes")

    async def give() -> tuple[str, bool]:
        async with _inbox(settings) as inbox:
            asked = await inbox.of_run(run_id)
            question = _the_only_one(run_id, asked) if named is None else named
            value: JsonValue = {"decision": text, "reason": reason}
            if reason is None:
                value = next((value_of(each, text) for each in asked if each.id == question), text)
            return question, await inbox.answer(run_id, _answer(question, value, by))

    question, taken = anyio.run(give)
    if taken:
        click.echo(f"answered question {question}")
    else:
        click.echo(
            f"no worker is there to take the answer to question {question}: it is left for the next one to check"
        )


@asynccontextmanager
async def _inbox(settings: Settings) -> AsyncGenerator[Inbox]:
    stack = RunningStack.find(settings)
    async with upgraded_database(settings) as database:
        client = await connect([client_plugin()], address=stack.temporal_address if stack else None)
        yield Runs(client, database, []).inbox


def _the_only_one(run_id: str, asked: Sequence[OpenQuestion]) -> str:
    if not asked:
        raise InvalidInput("the reply", f"run {run_id} asks nothing now")
    if len(asked) > 1:
        ids = ", ".join(f"{question.id} ({question.summary})" for question in asked)
        raise InvalidInput("the reply", f"run {run_id} asks several questions, name one: {ids}")
    return asked[0].id


def _answer(question: str, value: JsonValue, by: str | None) -> Answer:
    try:
        return Answer(question=question, answer=value, by=by)
    except ValidationError as error:
        raise InvalidInput("the reply", problem_of(error)) from error


def _what(question: Question) -> str:
    called = f"\n{question.tool}({question.arguments})" if question.tool else ""
    refused = f"\nan answer didn't fit: {question.refused}" if question.refused else ""
    return f"{question.text}{called}{refused}"


def _answers(question: Question) -> str:
    if question.tool is not None:
        return "yes, no, always"
    values = question.choices or question.answer_schema.get("enum")
    if isinstance(values, tuple | list):
        return ", ".join(map(str, values))
    return str(question.answer_schema.get("title") or question.answer_schema.get("type") or "JSON")
