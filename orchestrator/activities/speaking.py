"""How a reply is spoken: by one engine call, or by the calls that its watch makes of it."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.activities.calls import PaidCall, PaidCalls
from orchestrator.engine import SGLang
from orchestrator.engine.sglang import Generation
from orchestrator.errors import BudgetExceeded, EngineError
from orchestrator.ledger import Replayed
from orchestrator.steps import FinishReason, Sampling
from orchestrator.usage import Outcome
from orchestrator.watches import (
    AnswerProbes,
    ConfidenceFloor,
    ThinkingBounds,
    Watch,
    group_confidence,
    same_answers,
)

__all__ = ["Speech", "first_decoding", "follow_up"]

GROUP = 64
"""Tokens of a group, for a reply that is measured without a floor."""


@dataclass(frozen=True, kw_only=True)
class Speech:
    """A reply as it is kept."""

    ids: Sequence[int]
    text: str
    finish: FinishReason
    likelihood: float | None = None
    confidence: float | None = None
    weakest: float | None = None

    @property
    def measures(self) -> Mapping[str, float | None]:
        """As in `GenerateResult`."""
        return {"likelihood": self.likelihood, "confidence": self.confidence, "weakest": self.weakest}


async def follow_up(
    calls: PaidCalls,
    main: PaidCall,
    watch: Watch | None,
    *,
    engine: SGLang,
    prompt: Sequence[int],
    closing: Sequence[int],
    sampling: Sampling,
) -> Speech:
    """The whole reply, from the call that was begun for it and those that its watch adds.

    Args:
        closing: the tokens that close a reply in the model's template, end-of-sequence first.
        sampling: as it was asked for; of the first call, a watch may have cut it.
    """
    match watch:
        case None:
            return _speech(await main.finished(), GROUP)
        case ConfidenceFloor():
            return await _above(watch, main)
        case AnswerProbes():
            return await _probed(watch, calls, main, engine, prompt)
        case ThinkingBounds():
            return await _bounded(watch, calls, main, engine, prompt, closing, sampling)


async def first_decoding(watch: Watch | None, sampling: Sampling, engine: SGLang) -> tuple[Sampling, Sequence[int]]:
    """How the first call decodes, and the tokens that end it."""
    if not isinstance(watch, ThinkingBounds):
        return sampling, ()
    most = sampling.max_tokens if watch.at_most is None else watch.at_most
    return sampling.model_copy(update={"max_tokens": most}), await _marker(watch, engine)


async def _marker(watch: ThinkingBounds, engine: SGLang) -> Sequence[int]:
    """The token by which the model itself ends its thinking; none where its tokenizer has no such token."""
    ids = await engine.tokenize(watch.marker)
    return ids if len(ids) == 1 else ()


async def _above(watch: ConfidenceFloor, main: PaidCall) -> Speech:
    async for generation in main.call.follow():
        sure = group_confidence(generation.confidences, watch.window)
        if sure is not None and sure < watch.least:
            await main.call.abort()
    return _speech(main.generation, watch.window)


async def _probed(
    watch: AnswerProbes, calls: PaidCalls, main: PaidCall, engine: SGLang, prompt: Sequence[int]
) -> Speech:
    """Probes run beside the reply, one at a time: the prefix of each is hot."""
    asks = await engine.tokenize(watch.probe)
    sampling = Sampling(max_tokens=watch.max_tokens, temperature=0.0, stop=("\n",))
    answers: list[str] = []
    probe: _Probe | None = None
    due: float = watch.every
    async for generation in main.call.follow():
        if probe is not None and probe.task.done():
            answers.append(probe.answer())
            if same_answers(answers, watch.agree):
                await main.call.abort()
                return probe.ending(asks, watch.probe)
            probe = None
        if probe is None and len(generation.ids) >= due:
            due = (len(generation.ids) // watch.every + 1) * watch.every
            probe = await _Probe.begin(calls, [*prompt, *generation.ids, *asks], sampling, generation)
            if probe is None:
                due = math.inf  # the budget has no room for further ones
    if probe is not None:
        await probe.give_up()
    return _speech(main.generation, GROUP)


class _Probe:
    """One question for the answer so far."""

    def __init__(self, paid: PaidCall, so_far: Generation) -> None:
        self._paid = paid
        self._ids, self._text = tuple(so_far.ids), so_far.text
        self.task = asyncio.create_task(self._ask())

    @classmethod
    async def begin(
        cls, calls: PaidCalls, ids: Sequence[int], sampling: Sampling, so_far: Generation
    ) -> "_Probe | None":
        here = Generation(ids=list(so_far.ids), text=so_far.text)
        try:
            paid = await calls.begin(ids, sampling)
        except BudgetExceeded:
            return None
        assert not isinstance(paid, Replayed)
        return cls(paid, here)

    async def _ask(self) -> str:
        try:
            return (await self._paid.finished()).text.strip()
        except EngineError:
            self._paid.outcome = Outcome.FAILED
            return ""

    def answer(self) -> str:
        return self.task.result()

    def ending(self, asks: Sequence[int], words: str) -> Speech:
        """The reply that ends with this probe's answer."""
        made = self._paid.generation
        return Speech(ids=[*self._ids, *asks, *made.ids], text=f"{self._text}{words}{made.text}", finish="watched")

    async def give_up(self) -> None:
        if not self.task.done():
            self._paid.outcome = Outcome.CANCELLED
            await self._paid.call.abort()
        await self.task


async def _bounded(
    watch: ThinkingBounds,
    calls: PaidCalls,
    main: PaidCall,
    engine: SGLang,
    prompt: Sequence[int],
    closing: Sequence[int],
    sampling: Sampling,
) -> Speech:
    marker = await _marker(watch, engine)
    stops = {*closing[:1], *marker}
    ids: list[int] = []
    text = ""
    paid, extensions = main, watch.extensions
    while True:
        generation = await paid.finished()
        ended = generation.finish == "stop"
        ids += generation.ids[:-1] if ended and generation.ids and generation.ids[-1] in stops else generation.ids
        text += generation.text.removesuffix(watch.marker)
        if not ended or len(ids) >= watch.at_least or not extensions:
            break
        extensions -= 1
        ids += await engine.tokenize(watch.wait)
        text += watch.wait
        left = sampling.max_tokens if watch.at_most is None else watch.at_most
        again = sampling.model_copy(update={"max_tokens": max(1, left - len(ids))})
        paid = await _next(calls, [*prompt, *ids], again, stops=marker)
    ids += await engine.tokenize(watch.end)
    text += watch.end
    answer = await (await _next(calls, [*prompt, *ids], sampling)).finished()
    return Speech(ids=[*ids, *answer.ids], text=text + answer.text, finish=_finish(answer))


async def _next(calls: PaidCalls, ids: Sequence[int], sampling: Sampling, stops: Sequence[int] = ()) -> PaidCall:
    paid = await calls.begin(ids, sampling, stops=stops)
    assert not isinstance(paid, Replayed)
    return paid


def _speech(generation: Generation, window: int) -> Speech:
    confidences = generation.confidences
    groups = [sum(confidences[n - window : n]) / window for n in range(window, len(confidences) + 1)]
    return Speech(
        ids=generation.ids,
        text=generation.text,
        finish=_finish(generation),
        likelihood=math.exp(_mean(generation.likelihoods)) if generation.likelihoods else None,
        confidence=_mean(confidences) if confidences else None,
        weakest=min(groups) if groups else _mean(confidences) if confidences else None,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _finish(generation: Generation) -> FinishReason:
    if generation.finish == "abort":
        return "watched"
    return "length" if generation.finish == "length" else "stop"
