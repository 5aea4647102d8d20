"""A shop whose world changes between the runs and the backtest of them."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from pydantic import BaseModel
from temporalio import workflow

from orchestrator import Orchestrator, RunContext, ToolContext
from orchestrator.errors import OffRecord, ToolFailed
from orchestrator.strategies import Direct

app = Orchestrator("shop")

PRICES = {"tea": 3, "cup": 8, "rising": 0}
ORDERS: list[str] = []
ASKED: list[str] = []
"""Tools that were really called; they run in the test's own process, outside the sandbox."""


class Price(BaseModel):
    item: str
    dollars: int


@app.tool(effect="read", price=Decimal("0.001"))
async def price_of(ctx: ToolContext, item: str, currency: str = "usd") -> Price:
    """The price of an item now."""
    ASKED.append("price_of")
    if item not in PRICES:
        raise ToolFailed("price_of", f"there is no {item}")
    PRICES["rising"] += 1
    return Price(item=item, dollars=PRICES[item])


@app.tool(effect="write")
async def order(ctx: ToolContext, item: str) -> int:
    """Orders it; the number of the order."""
    ASKED.append("order")
    ORDERS.append(item)
    return len(ORDERS)


class Wish(BaseModel):
    item: str
    checks: int = 1
    """How often the price is looked up."""
    max_tokens: int = 64


@app.workflow()
async def buy(ctx: RunContext, wish: Wish) -> dict[str, Any]:
    """Looks up, thinks, and orders."""
    passages = await ctx.retrieve("handbook", wish.item, k=1)
    price = await ctx.call(price_of, wish.item)
    reply = await ctx.transcript(passages=passages).generate(
        f"{wish.item} for {price.dollars}?", max_tokens=wish.max_tokens
    )
    number = await ctx.call(order, wish.item)
    return {"text": passages[0].text, "price": price.dollars, "order": number, "reply": reply.text}


@app.workflow(grants=[order])
async def advise(ctx: RunContext, question: str) -> str:
    """The model calls the tools."""
    return await ctx.transcript(tools=[price_of, order]).ask(question, max_tokens=64)


def is_blue(value: str, result: str) -> bool:
    """The check of `answer`."""
    return result == "blue"


@app.workflow(check=is_blue)
async def answer(ctx: RunContext, question: str) -> str:
    """One reply, which is right if it is blue."""
    return (await ctx.transcript().generate(question, max_tokens=64)).text


@app.workflow()
async def family(ctx: RunContext, items: list[str]) -> list[int]:
    """A run for each item."""
    return [await ctx.child(haggle, item) for item in items]


@app.workflow()
async def haggle(ctx: RunContext, item: str) -> int:
    """The price; what it is is asked twice."""
    first, second = await ctx.call(price_of, item), await ctx.call(price_of, item=item, currency="usd")
    await ctx.transcript().generate(f"{item}?", max_tokens=16)
    return first.dollars * 100 + second.dollars


@app.workflow()
async def careful(ctx: RunContext, item: str) -> str:
    """What doesn't work is said, not raised."""
    try:
        return str((await ctx.call(price_of, item)).dollars)
    except OffRecord:
        return "off record"
    except ToolFailed as error:
        return str(error)


@app.workflow()
async def ponder(ctx: RunContext, question: str) -> str:
    """An answer thought out by a strategy."""
    return (await ctx.think(question, strategy=Direct(), key=str.strip, max_tokens=16)).value


@app.workflow(grants=[])
async def consult(ctx: RunContext, question: str) -> str:
    """A person answers first, then the model, which may have to ask before it orders."""
    colour = await ctx.ask_human(question, choices=["red", "blue"])
    late = await ctx.ask_human("And why?", timeout=timedelta(milliseconds=50), default="no reason")
    said = await ctx.transcript(tools=[order]).ask(f"Order {colour} for {late}.", max_tokens=64)
    return f"{colour}, {late}: {said}"


@app.workflow()
async def relay(ctx: RunContext, left: int) -> str:
    """Asks for the price once in each run, and goes on as a new one."""
    price = await ctx.call(price_of, "rising")
    await ctx.transcript().generate(f"{left}: {price.dollars}", max_tokens=16)
    if left > 1:
        workflow.continue_as_new(left - 1)
    return f"at last {price.dollars}"
