"""Workflows with long conversations. Importable by name, as Temporal's sandbox needs."""

import hashlib
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel
from temporalio import workflow

from orchestrator import Budget, Image, Orchestrator, Receipt, Reply, RunContext, ToolContext, Transcript
from orchestrator.compacting import Compacting
from orchestrator.extracting import last_integer
from orchestrator.strategies import ConfidentVote, Vote
from orchestrator.view import SHOW

app = Orchestrator("conversations")


class Reading(BaseModel):
    show: int = SHOW
    question: str = "What does it say?"
    steps: int = 20


class Talk(BaseModel):
    """What is said, and when the conversation is compacted."""

    say: list[str]
    keep_last: int = 1
    compact_after: int | None = None
    """Questions; `None`: never on purpose."""
    compact_at: int | None = None
    instructions: str = ""
    recall: bool = False
    max_tokens: int = 64
    summary_tokens: int = 256


class Talked(BaseModel):
    replies: list[str]
    exact: list[bool]
    refs: list[str]
    """After each reply."""
    compactions: list[dict[str, Any]] = []
    receipt: Receipt


def book(number: int, size: int) -> str:
    """A book's text: no two places of it are alike."""
    lines = (f"Line {line} of book {number}: {line * 7919 % 10007} is its number.\n" for line in range(size))
    return "".join(lines)[:size]


@app.tool(effect="read", max_result=10_000_000)
async def read_book(ctx: ToolContext, number: int, size: int = 200) -> str:
    """Read a book.

    Args:
        number: which one
        size: its length in characters
    """
    return book(number, size)


@app.tool(effect="read")
async def look_at(ctx: ToolContext, what: str, times: int = 1) -> str:
    """Look at something."""
    return f"{what * times} is {sum(what.encode())} high"


@app.workflow()
async def read(ctx: RunContext, reading: Reading) -> list[str]:
    """Answers by reading books, and says where the conversation stands."""
    chat = ctx.transcript(system="You read.", tools=[read_book, look_at], show=reading.show)
    return [await chat.ask(reading.question, max_steps=reading.steps), chat.ref or ""]


@app.workflow()
async def glance(ctx: RunContext, reading: Reading) -> str:
    """Answers with a tool that returns little, whatever it is asked."""
    return await ctx.transcript(system="You look.", tools=[look_at], show=reading.show).ask(reading.question)


imposing = Orchestrator("imposing")


@imposing.tool(effect="read", max_result=10_000_000)
async def read_more(ctx: ToolContext, result: str) -> str:
    """Has the name of a tool that conversations have of their own."""
    return result


@imposing.workflow()
async def impose(ctx: RunContext, reading: Reading) -> str:
    """Offers it."""
    return await ctx.transcript(tools=[read_more], show=reading.show).ask(reading.question)


async def _say(chat: Transcript, talk: Talk, so_far: Talked) -> None:
    for number, question in enumerate(talk.say, 1):
        reply = await chat.generate(question, max_tokens=talk.max_tokens)
        so_far.replies.append(reply.text)
        so_far.exact.append(reply.exact_prefix)
        so_far.refs.append(chat.ref or "")
        if number == talk.compact_after:
            done = await chat.compact(
                keep_last=talk.keep_last, instructions=talk.instructions, max_tokens=talk.summary_tokens
            )
            so_far.compactions.append({} if done is None else {**vars(done), "receipt": done.receipt.model_dump()})
            so_far.refs.append(chat.ref or "")


@app.workflow()
async def talk(ctx: RunContext, value: Talk) -> Talked:
    """Several questions in one conversation, which is compacted in between."""
    compacting = None
    if value.compact_at is not None:
        compacting = Compacting(value.compact_at, keep_last=value.keep_last, max_tokens=value.summary_tokens)
    chat = ctx.transcript(system="Be brief.", tools=[look_at], compact_at=compacting, recall=value.recall)
    talked = Talked(replies=[], exact=[], refs=[], receipt=Receipt())
    await _say(chat, value, talked)
    return talked.model_copy(update={"receipt": ctx.receipt})


@app.workflow()
async def climb(ctx: RunContext, value: Talk) -> list[str]:
    """Answers one question with many steps, and is compacted in the midst of them."""
    compacting = Compacting(value.compact_at or 1, keep_last=value.keep_last, max_tokens=value.summary_tokens)
    chat = ctx.transcript(system="You climb.", tools=[look_at], compact_at=compacting, recall=value.recall)
    return [await chat.ask(value.say[0], max_steps=50, max_tokens=value.max_tokens), chat.ref or ""]


@app.workflow(budget=Budget(tokens=2_000, reserve_for_answer=Decimal("0.3"), on_exhausted="finish"))
async def climb_cheaply(ctx: RunContext, value: Talk) -> list[str]:
    """As `climb`, with little to spend."""
    compacting = Compacting(value.compact_at or 1, keep_last=value.keep_last, max_tokens=value.summary_tokens)
    chat = ctx.transcript(system="You climb.", tools=[look_at], compact_at=compacting)
    return [await chat.ask(value.say[0], max_steps=50, max_tokens=value.max_tokens), chat.ref or ""]


@app.workflow(budget=Budget(tokens=1_000, reserve_for_answer=Decimal("0.4"), on_exhausted="finish"))
async def talk_cheaply(ctx: RunContext, value: Talk) -> list[str]:
    """As `talk`, with little to spend."""
    compacting = Compacting(value.compact_at or 1, keep_last=value.keep_last, max_tokens=value.summary_tokens)
    chat = ctx.transcript(system="Be brief.", compact_at=compacting)
    return [(await chat.generate(question, max_tokens=value.max_tokens)).text for question in value.say]


class Handed(BaseModel):
    """What a run hands to the one that goes on for it."""

    ref: str | None = None
    left: int
    exact: list[bool] = []


@app.workflow()
async def relay(ctx: RunContext, handed: Handed) -> Handed:
    """One reply a run, all in one conversation."""
    if handed.ref is None:
        chat = ctx.transcript(system="You remember.", tools=[read_book, look_at], show=2_000, recall=True)
    else:
        chat = await ctx.resume(handed.ref, tools=[read_book, look_at], show=2_000)
    reply = await chat.generate(f"{handed.left} to go.", max_tokens=64)
    exact = [*handed.exact, reply.exact_prefix]
    if handed.left > 1:
        workflow.continue_as_new(Handed(ref=chat.ref, left=handed.left - 1, exact=exact))
    return Handed(ref=chat.ref, left=0, exact=exact)


class Resumption(BaseModel):
    ref: str
    tools: list[str] = []
    ask: str = "And now?"
    compact_at: int | None = None
    compact: bool = False
    recall: str | None = None


@app.workflow()
async def resume(ctx: RunContext, value: Resumption) -> list[Any]:
    """Takes a conversation up, and asks."""
    tools = {tool.name: tool for tool in (read_book, look_at)}
    chat = await ctx.resume(
        value.ref, tools=[tools[name] for name in value.tools], show=2_000, compact_at=value.compact_at
    )
    if value.compact:
        await chat.compact(keep_last=0)
    if value.recall is not None:
        found = await chat.recall(value.recall, k=2)
        return [[passage.document, passage.text] for passage in found]
    return [await chat.ask(value.ask), chat.ref]


@app.workflow()
async def delegate(ctx: RunContext, value: Resumption) -> list[Any]:
    """Hands a conversation to a child."""
    return await ctx.child(resume, value)


@app.workflow()
async def ponder(ctx: RunContext, value: Talk) -> list[Any]:
    """Thinks in several drafts about the last question of a long conversation, which may be compacted in each."""
    compacting = Compacting(value.compact_at or 1, keep_last=value.keep_last, max_tokens=value.summary_tokens)
    chat = ctx.transcript(system="Be brief.", tools=[look_at], compact_at=compacting)
    *before, question = value.say
    for each in before:
        await chat.generate(each, max_tokens=value.max_tokens)
    thought = await ctx.think(
        question, strategy=Vote(at_most=3, at_least=3), output=int, extract=last_integer, transcript=chat, max_steps=30
    )
    told = [thought.value, thought.receipt.model_dump(mode="json"), ctx.receipt.model_dump(mode="json")]
    return [*told, await chat.compact(keep_last=1) is not None]


def picture(size: int = 300_000) -> bytes:
    """Bytes that a picture might have: they can't be compressed, and nobody looks at them here."""
    seed, parts = b"picture", [b"\x89PNG\r\n\x1a\n"]
    for _ in range(size // 32):
        seed = hashlib.sha256(seed).digest()
        parts.append(seed)
    return b"".join(parts)


class Shown(BaseModel):
    """What a program shows to a model."""

    image: Image | None = None
    """By default a tool takes one."""
    questions: list[str] = ["What is this?"]
    then: Literal["generate", "ask", "grade", "vote", "compact", "warm"] = "generate"
    max_tokens: int = 64


class Described(BaseModel):
    replies: list[str]
    exact: list[bool]
    receipt: Receipt
    value: Any = None


class Height(BaseModel):
    metres: int


@app.tool(effect="read")
async def photograph(ctx: ToolContext, size: int = 300_000) -> Image:
    """Takes a picture."""
    return await ctx.put_image(picture(size))


@app.workflow()
async def describe(ctx: RunContext, shown: Shown) -> Described:
    """Shows a picture to the model, and asks about it."""
    image = shown.image or await ctx.call(photograph)
    chat = ctx.transcript(system="You see.", tools=[look_at] if shown.then == "ask" else [])
    first, *others = shown.questions
    replies: list[Reply] = []
    value: Any = None
    if shown.then == "ask":
        value = (await chat.ask(first, images=[image], output=Height, max_tokens=shown.max_tokens)).metres
    else:
        if shown.then == "warm":
            chat.say("Look at it.", images=[image])
            await chat.warm()
            replies.append(await chat.generate(first, max_tokens=shown.max_tokens))
        else:
            replies.append(await chat.generate(first, images=[image], max_tokens=shown.max_tokens))
        if shown.then == "grade":
            await chat.grade("Is it high?")
        if shown.then == "vote":
            await ctx.think("How high?", strategy=ConfidentVote(), output=int, extract=last_integer, transcript=chat)
        replies += [await chat.generate(question, max_tokens=shown.max_tokens) for question in others]
        if shown.then == "compact":
            await chat.compact(keep_last=1)
            replies.append(await chat.generate("And now?", max_tokens=shown.max_tokens))
    return Described(
        replies=[reply.text for reply in replies],
        exact=[reply.exact_prefix for reply in replies],
        receipt=ctx.receipt,
        value=value,
    )
