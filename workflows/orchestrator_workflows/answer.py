"""Answer a question from a collection of documents, with sources."""

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from orchestrator import Budget, Passage, RunContext
from orchestrator_tools import calculator, search_collection
from orchestrator_workflows.shipped import app

__all__ = ["Answer", "Question", "Source", "answer"]

INSTRUCTIONS = """Answer the question from the numbered passages below, in one or two sentences.
You can search the collection {collection!r} for more."""
CITE = "Which of the numbered passages does your answer rest on? Give their numbers, the best first."


class Question(BaseModel):
    """What to answer, and from which collection."""

    model_config = ConfigDict(extra="forbid")

    question: Annotated[str, Field(min_length=1, max_length=4000)]
    collection: str
    k: Annotated[int, Field(ge=1, le=20)] = 3
    """Passages to read."""
    max_tokens: Annotated[int, Field(ge=1, le=8192)] = 160
    """Of the answer, and of the tool call before it."""


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
    """The best first."""


@app.workflow(budget=Budget(usd=Decimal("0.05"), tokens=60_000))
async def answer(ctx: RunContext, asked: Question) -> Answer:
    """Answer a question from a collection of documents, with sources."""
    passages = await ctx.retrieve(asked.collection, asked.question, k=asked.k)
    chat = ctx.transcript(
        system=INSTRUCTIONS.format(collection=asked.collection),
        passages=passages,
        tools=[calculator, search_collection],
    )
    text = await chat.ask(asked.question, tool_choice="required", max_steps=1, max_tokens=asked.max_tokens)
    if not passages:
        return Answer(answer=text.strip(), sources=[])
    cited = await chat.ask(CITE, output=_numbers(len(passages)), tool_choice="none", max_tokens=64)
    return Answer(answer=text.strip(), sources=[_source(passages[number - 1]) for number in dict.fromkeys(cited)])


def _numbers(passages: int) -> type[list[int]]:
    """A list that can only hold numbers of passages that there are, at least one."""
    number: Any = Literal[tuple(range(1, passages + 1))]  # pyright: ignore[reportInvalidTypeForm]
    numbers: Any = Annotated[list[number], Field(min_length=1, max_length=passages)]
    return numbers


def _source(passage: Passage) -> Source:
    return Source(document=passage.document, passage=passage.id, text=passage.text)
