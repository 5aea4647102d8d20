"""Research a question in collections: plan searches, read what is found, search for what is missing, and cite."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, create_model

from orchestrator import Budget, Receipt, RunContext, Transcript
from orchestrator.errors import BudgetExceeded, OutputInvalid
from orchestrator_workflows.answer import Source
from orchestrator_workflows.shipped import app

__all__ = ["Finding", "Found", "Report", "Topic", "research"]

INSTRUCTIONS = """You research a question in collections of documents: you search them, and read the passages found.
Say only what the passages say.
The question: {question}"""
PLAN = "Which searches would find what is needed? Give short search queries."
READ = """Read these passages.

{passages}

What do they say on the question? And which searches are still missing, if any?"""
ANSWER = "Answer in a few statements, each with the numbers of the passages that it rests on. The question: {question}"
NOTHING = "The collections hold nothing about this."

Query = Annotated[str, Field(min_length=2, max_length=120)]
T = TypeVar("T")


class Topic(BaseModel):
    """What to find out, and where."""

    model_config = ConfigDict(extra="forbid")

    question: Annotated[str, Field(min_length=1, max_length=4000)]
    collections: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=8)]
    rounds: Annotated[int, Field(ge=1, le=8)] = 3
    """Of searching and reading, at most."""
    queries: Annotated[int, Field(ge=1, le=8)] = 3
    """In a round, at most."""
    k: Annotated[int, Field(ge=1, le=10)] = 2
    """Passages for a query from a collection."""
    passages: Annotated[int, Field(ge=1, le=100)] = 12
    """In all, at most."""
    max_tokens: Annotated[int, Field(ge=100, le=8192)] = 512
    """Of each reply."""


class Notes(BaseModel):
    """What passages say on the question, and what to search for next."""

    learned: Annotated[str, Field(max_length=400)]
    missing: Annotated[list[Query], Field(max_length=8)]


class Finding(BaseModel):
    """A statement, and the numbers of the passages that it rests on."""

    text: Annotated[str, Field(min_length=1, max_length=300)]
    passages: Annotated[list[int], Field(min_length=1, max_length=8)]
    """Places in the report's `sources`, from 1 on."""


class Found(Source):
    """A passage that was read."""

    collection: str


class Report(BaseModel):
    """An answer of which every statement cites passages that were read."""

    answer: str
    """The findings as one text, with the numbers of their passages."""
    findings: list[Finding]
    sources: list[Found]
    """All that was read, in order."""
    queries: list[str]
    rounds: int
    missing: list[str]
    """Searches that were still wanted when the rounds, the passages or the budget came to their end."""
    receipt: Receipt


@app.workflow(budget=Budget(usd=Decimal("0.50"), tokens=1_000_000, on_exhausted="finish"))
async def research(ctx: RunContext, topic: Topic) -> Report:
    """Research a question in collections: plan searches, read what is found, search for what is missing, and cite."""
    chat = ctx.transcript(system=INSTRUCTIONS.format(question=topic.question))
    planned = await _step(ctx, chat, PLAN, list[Query], topic)
    wanted = [topic.question, *(planned or [])]
    read: dict[tuple[str, str], Found] = {}
    asked: list[str] = []
    rounds = 0
    while wanted and rounds < topic.rounds and len(read) < topic.passages and not (ctx.closing and read):
        rounds += 1
        searches = wanted[: topic.queries]
        asked += searches
        new = await _search(ctx, topic, searches, read)
        passages = _numbered(new, len(read))
        notes = await _step(ctx, chat, READ.format(passages=passages), Notes, topic) if new else None
        if ctx.closing and read:
            break  # what was found last stays unread: the budget keeps the rest for the answer
        if notes is None and new:
            chat.say(passages)
        read |= new
        wanted = [query for query in notes.missing if query not in asked] if notes else []
    if not read:
        return Report(
            answer=NOTHING, findings=[], sources=[], queries=asked, rounds=rounds, missing=wanted, receipt=ctx.receipt
        )
    question = ANSWER.format(question=topic.question)
    findings = await chat.ask(question, output=_findings(len(read), topic), max_tokens=topic.max_tokens)
    return Report(
        answer=" ".join(f"{each.text.strip()} {_cited(each)}" for each in findings),
        findings=findings,
        sources=list(read.values()),
        queries=asked,
        rounds=rounds,
        missing=wanted,
        receipt=ctx.receipt,
    )


async def _step(ctx: RunContext, chat: Transcript, question: str, output: type[T], topic: Topic) -> T | None:
    """What the model says on the way; `None`, and nothing said, where it is no use or the budget is for the answer."""
    fork = chat.fork()
    try:
        said = await fork.ask(question, output=output, max_tokens=topic.max_tokens, repairs=1, closes=False)
    except OutputInvalid:
        return None
    except BudgetExceeded:
        if ctx.closing:
            return None
        raise
    chat.becomes(fork)
    return said


async def _search(
    ctx: RunContext, topic: Topic, queries: Sequence[str], known: Mapping[tuple[str, str], Found]
) -> dict[tuple[str, str], Found]:
    """The passages found that aren't known yet, as many as may still be read, the best of each search first."""
    places = [(collection, query) for query in queries for collection in topic.collections]
    results = await ctx.map(lambda place: ctx.retrieve(*place, k=topic.k), places)
    ranked = [
        (rank, collection, passage)
        for (collection, _), passages in zip(places, results, strict=True)
        for rank, passage in enumerate(passages)
    ]
    new: dict[tuple[str, str], Found] = {}
    for _, collection, passage in sorted(ranked, key=lambda each: each[0]):
        key = (collection, passage.id)
        if key not in known and len(known) + len(new) < topic.passages:
            new[key] = Found(collection=collection, document=passage.document, passage=passage.id, text=passage.text)
    return new


def _cited(finding: Finding) -> str:
    return "".join(f"[{number}]" for number in finding.passages)


def _numbered(passages: Mapping[tuple[str, str], Found], after: int) -> str:
    return "\n\n".join(
        f"[{number}] {found.document}\n{found.text}" for number, found in enumerate(passages.values(), after + 1)
    )


def _findings(passages: int, topic: Topic) -> type[list[Finding]]:
    """A few findings, which can cite passages that there are and no others."""
    number: Any = Literal[tuple(range(1, passages + 1))]  # pyright: ignore[reportInvalidTypeForm]
    numbers: Any = Annotated[list[number], Field(min_length=1, max_length=min(8, passages))]
    finding: Any = create_model("Finding", __base__=Finding, passages=(numbers, ...))
    findings: Any = Annotated[list[finding], Field(min_length=1, max_length=max(1, topic.max_tokens // 100))]
    return findings
