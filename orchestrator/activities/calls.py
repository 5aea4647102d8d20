"""The engine calls of one attempt of a step: each reserved before it is sent, all settled together.

Most steps take one. A reply that is watched may take more: probes of its answer, or going on after its thinking.
"""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio import activity

from orchestrator.activities.metering import Meter, PaidStep, request_id, this_attempt
from orchestrator.attribution import Provisional
from orchestrator.budget import Allowance
from orchestrator.engine import EngineRequest, ServerInfo, SGLang
from orchestrator.engine.call import EngineCall
from orchestrator.engine.chat import ChatPrompt
from orchestrator.engine.sglang import Generation
from orchestrator.errors import BudgetExceeded
from orchestrator.ledger import Bound, Kind, Price, PriceBook, Replayed
from orchestrator.steps import GENERATE, RunScope, Sampling
from orchestrator.usage import Outcome, Receipt, Usage, usd_from_nano

__all__ = ["Desk", "PaidCall", "PaidCalls"]

LEAST_ANSWER = 8
"""Tokens; below them a reply that was cut to what is left isn't worth its prompt."""


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What the calls of one server have in common."""

    engine: SGLang
    info: ServerInfo
    pool: str
    prices: PriceBook
    meter: Meter
    gpu: Provisional

    async def calls(self, scope: RunScope, *, closing: bool = False, limit: Allowance | None = None) -> "PaidCalls":
        """The calls of the running attempt.

        Args:
            closing: whether they may draw on what the budget keeps for the answer.
            limit: what they may use together.
        """
        price = await self.prices.price(self.info.model, self.pool)
        return PaidCalls(self, scope, price, closing=closing, limit=limit)


class PaidCall:
    """One call with its open row."""

    def __init__(self, desk: Desk, step: PaidStep, call: EngineCall, sampling: Sampling, prompt: int) -> None:
        self._desk = desk
        self._call = call
        self._prompt = prompt
        self.step = step
        self.sampling = sampling
        """As it was sent: `max_tokens` cut to what is left."""
        self.outcome = Outcome.USED
        """What it goes down as when the step is settled."""

    @property
    def generation(self) -> Generation:
        return self._call.generation

    @property
    def call(self) -> EngineCall:
        return self._call

    async def finished(self) -> Generation:
        """The whole answer.

        Raises:
            EngineError: see `SGLang.generate`.
        """
        return await self._call.finished()

    async def __aenter__(self) -> Self:
        await self._call.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._call.__aexit__(kind, error, trace)
        finally:
            self._note()

    def _note(self) -> None:
        """What is known of the call, for its row."""
        step, made = self.step, self.generation
        step.usage, step.timings, step.moments = made.usage, made.timings, made.moments
        step.gpu_us = self._desk.gpu.provisional(made.usage, made.moments)
        step.estimated = not self._call.confirmed
        if step.estimated and step.usage.prompt is None:
            step.usage = step.usage.model_copy(update={"prompt": self._prompt})
        step.seen.first_token = self._call.first_token
        step.seen.attributes["gen_ai.request.max_tokens"] = self.sampling.max_tokens


class PaidCalls:
    """A context: what is still open when it is left by an exception is settled by what the exception says."""

    def __init__(self, desk: Desk, scope: RunScope, price: Price, *, closing: bool, limit: Allowance | None) -> None:
        self._desk = desk
        self._scope = scope
        self._price = price
        self._closing = closing
        self._limit = limit
        self._bound = Bound()
        self._stack = AsyncExitStack()
        self._calls: list[PaidCall] = []

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    def so_far(self) -> Mapping[str, Any] | None:
        """What the first call has used so far, for heartbeats."""
        return self._calls[0].generation.usage.model_dump(mode="json") if self._calls else None

    async def begin(
        self,
        ids: Sequence[int],
        sampling: Sampling,
        *,
        schema: Mapping[str, Any] | None = None,
        measure: bool = False,
        labels: Sequence[int] = (),
        stops: Sequence[int] = (),
        warm: bool = False,
        chat: ChatPrompt | None = None,
    ) -> PaidCall | Replayed:
        """Reserves and sends a call; or, of the first one, what an earlier attempt has paid for already.

        Args:
            chat: the prompt in place of `ids`, where it can't be sent as tokens.

        Raises:
            BudgetExceeded: the run, or the limit of the step, can't afford it.
        """
        number = len(self._calls)
        attempt = replace(this_attempt(), call=number)
        rid = request_id(attempt)
        prompt = len(ids) if chat is None else chat.tokens
        what = Kind(
            kind=GENERATE,
            name=self._desk.info.model,
            pool=self._desk.pool,
            server=self._desk.engine.url,
            rid=rid,
            sent_tokens=prompt,
        )
        nothing = warm and chat is None
        step, sampling = await self._reserve(what, sampling, number, warm=nothing)
        if step.replayed is not None:
            return step.replayed
        request = EngineRequest(
            rid=rid,
            ids=ids,
            chat=chat,
            sampling=sampling,
            output_schema=schema,
            cache_salt=self._scope.cache_salt,
            headers=step.seen.headers,
            measure=measure,
            labels=labels,
            stops=stops,
            warm=warm,
        )
        paid = PaidCall(self._desk, step, EngineCall(self._desk.engine, request), sampling, prompt)
        self._calls.append(paid)
        await self._stack.enter_async_context(paid)
        return paid

    async def end(self) -> None:
        """Aborts what still runs; what each call used is known then."""
        for paid in self._calls:
            await paid.__aexit__(None, None, None)

    async def settle(self, connection: AsyncConnection, result: Mapping[str, Any]) -> Receipt:
        """Closes all rows within the caller's transaction; the receipt of the step, earlier attempts included."""
        total = Receipt()
        for paid in self._calls:
            total += await paid.step.settle(connection, paid.outcome, result if paid is self._calls[0] else None)
        return total.model_copy(update={"steps": 1})

    async def _reserve(self, what: Kind, sampling: Sampling, number: int, *, warm: bool) -> tuple[PaidStep, Sampling]:
        """The call's row, with `max_tokens` cut to what the step's limit, or a closing budget, still holds."""
        prompt = what.sent_tokens or 0
        if self._limit is not None:
            sampling = self._within_limit(self._limit, sampling, prompt)
        while True:
            most = Usage(prompt=prompt, output=0 if warm else sampling.max_tokens)
            gpu_us = self._desk.gpu.bound(most)
            bound = Bound(tokens=most.total, nano=self._price.cost(most, gpu_us), gpu_us=gpu_us, calls=1)
            reserved = self._desk.meter.step(
                self._scope,
                what,
                bound=bound,
                price=self._price,
                died=_last_heartbeat(prompt) if number == 0 else Usage(prompt=prompt),
                closing=self._closing,
                call=number,
            )
            try:
                step = await self._stack.enter_async_context(reserved)
                break
            except BudgetExceeded as refusal:
                affordable = self._affordable(refusal, prompt) if self._closing else None
                if affordable is None or not LEAST_ANSWER <= affordable < sampling.max_tokens:
                    raise
                sampling = sampling.model_copy(update={"max_tokens": affordable})
        self._bound = Bound(tokens=self._bound.tokens + bound.tokens, nano=self._bound.nano + bound.nano)
        return step, sampling

    def _affordable(self, refusal: BudgetExceeded, prompt: int) -> int | None:
        """How many output tokens what is left would pay for; `None` where that isn't what is missing."""
        return self._output_within(refusal.left_tokens, refusal.left_nano, prompt)

    def _output_within(self, tokens: int | None, nano: int | None, prompt: int) -> int | None:
        rooms: list[int] = []
        if tokens is not None:
            rooms.append(tokens - prompt)
        if nano is not None and self._price.output:
            left = nano - self._price.cost(Usage(prompt=prompt)) - 1
            rooms.append(left * 1_000_000 // self._price.output)
        return min(rooms, default=None)

    def _within_limit(self, limit: Allowance, sampling: Sampling, prompt: int) -> Sampling:
        tokens = None if limit.tokens is None else limit.tokens - self._bound.tokens
        nano = None if limit.nano_usd is None else limit.nano_usd - self._bound.nano
        most = self._output_within(tokens, nano, prompt)
        if most is None or most >= sampling.max_tokens:
            return sampling
        if most >= LEAST_ANSWER:
            return sampling.model_copy(update={"max_tokens": most})
        by_tokens = tokens is not None and tokens < prompt + LEAST_ANSWER
        raise BudgetExceeded(
            "tokens" if by_tokens else "usd",
            whose="what is left for this answer",
            allowed=f"{limit.tokens:,} tokens" if by_tokens else f"${limit.usd:f}",
            spent=f"{self._bound.tokens:,} tokens" if by_tokens else f"${usd_from_nano(self._bound.nano):f}",
            needed=f"{prompt + LEAST_ANSWER:,} tokens",
        )


def _last_heartbeat(prompt: int) -> Usage:
    """What the attempt before this one last said that it had used; its prompt where it died before the first token."""
    details = activity.info().heartbeat_details
    said = Usage.model_validate(details[0]) if details and details[0] else Usage()
    return said if said.prompt is not None else Usage(prompt=prompt)
