"""Answer a question from a collection of documents, with sources."""

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from orchestrator import Budget, Passage, RunContext
from orchestrator_tools import calculator, search_collection
from orchestrator_workflows.shipped import app

__all__ = ["Answer", "Question", "Source", "answer"]

INSTRUCTIONS = """Answer the question from the numbered passages below, in one or two sentences.
You can search the collection {collection!r} for more."""


class Question(BaseModel):
    """What to answer, and from which collection."""

    model_config = ConfigDict(extra="forbid")

    question: Annotated[str, Field(min_length=1, max_length=4000)]
    collection: str
    k: Annotated[int, Field(ge=1, le=20)] = 3
    """Passages to read."""


class Source(BaseModel):
    """A passage that the answer rests on."""

    document: str
    passage: str
    """The passage's id."""
    text: str


class Answer(BaseModel):
    """An answer whose every source is a passage that was found."""

    answer: str
    sources: list[Source]


class Draft(BaseModel):
    """What the model writes; `sources` are numbers of passages."""

    answer: Annotated[str, Field(min_length=1, max_length=400)]


@app.workflow(budget=Budget(usd=Decimal("0.05"), tokens=60_000))
async def answer(ctx: RunContext, asked: Question) -> Answer:
    """Answer a question from a collection of documents, with sources."""
    passages = await ctx.retrieve(asked.collection, asked.question, k=asked.k)
    chat = ctx.transcript(
        system=INSTRUCTIONS.format(collection=asked.collection),
        passages=passages,
        tools=[calculator, search_collection],
    )
    draft = await chat.ask(
        asked.question, output=_draft(len(passages)), tool_choice="required", max_steps=1, max_tokens=200
    )
    cited = sorted(set[int](getattr(draft, "sources", ())))
    return Answer(answer=draft.answer.strip(), sources=[_source(passages[number - 1]) for number in cited])


def _draft(passages: int) -> type[Draft]:
    """A draft that can only cite passages that exist, at least one of them where there is any."""
    if not passages:
        return Draft
    number: Any = Literal[tuple(range(1, passages + 1))]  # pyright: ignore[reportInvalidTypeForm]
    sources: Any = (list[number], Field(min_length=1, max_length=passages))
    return create_model("Draft", __base__=Draft, sources=sources)


def _source(passage: Passage) -> Source:
    return Source(document=passage.document, passage=passage.id, text=passage.text)
