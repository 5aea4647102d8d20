"""Extract data from many documents, side by side, in as many runs as it takes."""

from decimal import Decimal

from pydantic import JsonValue
from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from orchestrator import Budget, RunContext
from orchestrator.errors import BudgetExceeded, EngineError, InvalidInput, OrchestratorError, UnknownName
from orchestrator_tools import list_documents, read_document
from orchestrator_workflows.extraction import Extracted, Extraction, Failed, Item, Rest, size
from orchestrator_workflows.shipped import app

__all__ = ["extract"]

INSTRUCTIONS = """You read one document, and give what it says as JSON. You make nothing up: what it doesn't say is \
null, or left out."""
MOST_FOUND = 900_000
"""Bytes of JSON; when so much is found, no further document is begun. A run can return 2 MB, and hand on as much."""
LONGEST_PROBLEM = 500


@app.workflow(budget=Budget(usd=Decimal("5.00"), tokens=20_000_000))
async def extract(ctx: RunContext, asked: Extraction) -> Extracted:
    """Extract data from many documents, side by side, in as many runs as it takes."""
    names, rest = await _next(ctx, asked)
    batch = _Batch(ctx, asked)
    came = await ctx.map(batch.extract, names, parallel=asked.parallel)
    rest.documents[:0] = [name for name, each in zip(names, came, strict=True) if each is None]
    so_far = batch.so_far
    so_far.documents += sum(each is not None for each in came)
    so_far.items += [each for each in came if isinstance(each, Item)]
    so_far.failed += [each for each in came if isinstance(each, Failed)]
    left = bool(rest.documents) or rest.after is not None
    stopped = batch.stopped if left else None
    if stopped is None and left and so_far.documents == asked.limit:
        stopped = f"the limit of {asked.limit:,} documents"
    if stopped is None and left:
        texts = asked.texts and [text for text in asked.texts if text.name in {*rest.documents}]
        workflow.continue_as_new(asked.model_copy(update={"texts": texts, "rest": rest, "so_far": so_far}))
    return Extracted(
        items=so_far.items,
        failed=so_far.failed,
        documents=so_far.documents,
        stopped=stopped,
        rest=rest if left else None,
        receipt=ctx.receipt,
    )


async def _next(ctx: RunContext, asked: Extraction) -> tuple[list[str], Rest]:
    """The documents of this run, and what is left after them."""
    most = asked.every if asked.limit is None else min(asked.every, asked.limit - asked.so_far.documents)
    waiting, after = [*asked.rest.documents], asked.rest.after
    if asked.texts is not None and after is not None:
        waiting, after = [*waiting, *(text.name for text in asked.texts)], None
    if after is not None and (missing := most + 1 - len(waiting)) > 0:  # one more, to know whether there are others
        assert asked.collection is not None
        listed = await ctx.call(list_documents, asked.collection, after=after, limit=missing)
        waiting, after = [*waiting, *listed], listed[-1] if len(listed) == missing else None
    return waiting[:most], Rest(documents=waiting[most:], after=after)


class _Batch:
    """The documents of one run."""

    def __init__(self, ctx: RunContext, asked: Extraction) -> None:
        self.so_far = asked.so_far.model_copy(deep=True)
        self._problem: str | None = None
        self._ctx, self._asked, self._shape = ctx, asked, asked.shape
        self._system = f"{INSTRUCTIONS}\n{asked.instructions}".strip()
        self._texts = {text.name: text.text for text in asked.texts or []}
        self._found = sum(map(size, [*self.so_far.items, *self.so_far.failed]))

    @property
    def stopped(self) -> str | None:
        """Why no further document is begun."""
        if self._problem is None and self._found > MOST_FOUND:
            return "what was found is as much as one run can return"
        return self._problem

    async def extract(self, name: str) -> Item | Failed | None:
        """What became of a document; `None` where it wasn't tried, since there is no going on."""
        if self.stopped is not None:
            return None
        try:
            came = Item(document=name, value=await self._value(name))
        except (OrchestratorError, ActivityError) as error:
            if is_cancelled_exception(error):
                raise
            if isinstance(error, BudgetExceeded) or (isinstance(error, EngineError) and error.retryable):
                self._problem = str(error)
                return None
            came = Failed(document=name, problem=str(error)[:LONGEST_PROBLEM])
        self._found += size(came)
        return came

    async def _value(self, name: str) -> JsonValue:
        text = self._texts.get(name)
        if text is None:
            if self._asked.collection is None:
                raise UnknownName("text", name, self._texts)
            text = await self._ctx.call(read_document, self._asked.collection, name)
        if (length := len(text)) > self._asked.max_characters:
            raise InvalidInput(
                f"document {name!r}", f"it has {length:,} characters; max_characters is {self._asked.max_characters:,}"
            )
        chat = self._ctx.transcript(system=self._system)
        return await chat.ask(f"{name}\n\n{text}", output=self._shape, max_tokens=self._asked.max_tokens, repairs=1)
