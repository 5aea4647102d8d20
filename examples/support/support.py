"""Answer a customer's question from the handbook, looking up the order where one is named."""

from decimal import Decimal

from pydantic import BaseModel

from orchestrator import Budget, Orchestrator, RunContext, ToolContext

app = Orchestrator("support")

ORDERS = {"A-1001": "shipped on Monday", "A-1002": "waiting for payment"}


class Answer(BaseModel):
    text: str
    sources: list[str]


@app.tool(effect="read")
async def find_order(ctx: ToolContext, order_id: str) -> str:
    """Look up one order by its id."""
    return ORDERS.get(order_id, "there is no such order")


@app.workflow(budget=Budget(usd=Decimal("0.05"), tokens=60_000))
async def answer(ctx: RunContext, question: str) -> Answer:
    """Answer a customer's question from the handbook."""
    passages = await ctx.retrieve("handbook", question, k=2)
    chat = ctx.transcript(system="Answer from the passages only.", passages=passages, tools=[find_order])
    text = await chat.ask(question, max_tokens=120)
    return Answer(text=text, sources=[passage.id for passage in passages])
