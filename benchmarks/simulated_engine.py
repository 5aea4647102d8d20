"""A simulated engine under continuous batching, step by step, so that what each call truly took is known.

Nothing here is measured: arrivals, lengths and step times are drawn and computed. A step takes
`step + prefill * tokens + decode * sequences + context * KV tokens read`, with the weights of an 8-billion-parameter
model on one H100. What a call truly takes of a step is its own work in it, and of the step's fixed part a share in
proportion. Both kinds of scheduling are simulated: steps that prefill or decode, prefills first (SGLang's default), and
steps that do both (SGLang's `--enable-mixed-chunk`).
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from orchestrator.attribution import Call, CallKey, Weights

__all__ = ["TRUE_WEIGHTS", "Simulated", "simulate"]

TRUE_WEIGHTS = Weights(step=6_000, prefill=45, decode=30, context=0.011)
CHUNK = 2048
"""Tokens prefilled in a step."""
SLOTS = 64
"""Calls that run at a time."""
LOOK_EVERY = 30_000_000
"""Microseconds."""


@dataclass(slots=True, kw_only=True)
class _Request:
    key: int
    arrived: float
    prompt: int
    cached: int
    output: int
    left: int
    """Tokens still to prefill."""
    made: int = 0
    entered: float = 0.0
    prefilled: float = 0.0
    finished: float = 0.0
    took: float = 0.0


@dataclass(kw_only=True)
class Simulated:
    """What an engine did, and what its `/v1/loads` would say of it."""

    calls: list[Call]
    truth: dict[CallKey, float]
    """Microseconds that each call truly took."""
    busy: float = 0.0
    now: float = 0.0
    prefill_tokens: int = 0
    prefill_us: float = 0.0
    decode_moments: list[float] = field(default_factory=lambda: [0.0] * 6)
    looks: list[tuple[int, Mapping[str, Any]]] = field(default_factory=list[tuple[int, Mapping[str, Any]]])
    """Its sums as somebody who asks every half minute sees them."""
    decoded: bool = False
    """Whether the last step decoded: the engine counts one that decodes only if the one before it did too."""

    def look(self) -> None:
        """Somebody asks, if it is time."""
        if not self.looks or self.now - self.looks[-1][0] >= LOOK_EVERY:
            sums = {"prefill_tokens": self.prefill_tokens, "prefill_us": self.prefill_us, "decode": self.decode_moments}
            self.looks.append((round(self.now), sums))


def simulate(
    *, rate: float, calls: int = 400, seed: int = 7, mixed: bool = False, weights: Weights = TRUE_WEIGHTS
) -> Simulated:
    """Serves calls that arrive at random, so many a second on average, until all are done."""
    waiting = deque(_arrivals(Random(seed), rate, calls))
    everyone, queue, running = list(waiting), deque[_Request](), list[_Request]()
    engine = Simulated(calls=[], truth={})
    while waiting or queue or running:
        engine.look()
        while waiting and waiting[0].arrived <= engine.now:
            queue.append(waiting.popleft())
        if not queue and not running:
            engine.now, engine.decoded = waiting[0].arrived, False
            continue
        _step(engine, queue, running, weights, mixed=mixed)
    engine.calls = [_told(request) for request in everyone]
    engine.truth = {(request.key,): request.took for request in everyone}
    return engine


def _arrivals(random: Random, rate: float, calls: int) -> list[_Request]:
    arrived, requests = 0.0, list[_Request]()
    for key in range(calls):
        arrived += random.expovariate(rate) * 1e6
        prompt = random.randrange(200, 6000)
        cached = int(prompt * random.choices((0, 0.5, 0.9), (0.4, 0.3, 0.3))[0])
        output = min(2500, int(random.lognormvariate(5.2, 0.9)) + 5)
        requests.append(
            _Request(key=key, arrived=arrived, prompt=prompt, cached=cached, output=output, left=prompt - cached)
        )
    return requests


def _step(engine: Simulated, queue: deque[_Request], running: list[_Request], weights: Weights, *, mixed: bool) -> None:
    budget, prefilling = CHUNK, dict[int, int]()
    for request in running:
        if request.left and budget:
            prefilling[request.key] = min(request.left, budget)
            budget -= prefilling[request.key]
    while queue and budget and len(running) < SLOTS:
        request = queue.popleft()
        request.entered = engine.now
        running.append(request)
        prefilling[request.key] = min(request.left, budget)
        budget -= prefilling[request.key]
    decoding = [request for request in running if not request.left and (mixed or not prefilling)]
    work = {request.key: weights.decode + weights.context * (request.prompt + request.made) for request in decoding}
    for key, tokens in prefilling.items():
        work[key] = work.get(key, 0.0) + weights.prefill * tokens
    whole = sum(work.values())
    took = weights.step + whole
    engine.now += took
    engine.busy += took
    for request in running:
        request.took += work.get(request.key, 0.0) * took / whole
        request.left -= prefilling.get(request.key, 0)
        if not request.left and request.key in prefilling:
            request.prefilled, request.made = engine.now, 1
    for request in decoding:
        request.made += 1
    _count(engine, took, sum(prefilling.values()), len(decoding))
    for request in [request for request in running if request.made >= request.output]:
        request.finished = engine.now
        running.remove(request)


def _count(engine: Simulated, took: float, prefilled: int, decoding: int) -> None:
    """As SGLang's scheduler counts its steps: one that prefills is a prefill, whatever else it does."""
    if prefilled:
        engine.prefill_us += took
        engine.prefill_tokens += prefilled
    elif engine.decoded:
        sums = (1, decoding, took, decoding**2, decoding * took, decoding)
        engine.decode_moments = [old + new for old, new in zip(engine.decode_moments, sums, strict=True)]
    engine.decoded = not prefilled


def _told(request: _Request) -> Call:
    """A call as the engine tells of it afterwards."""
    return Call(
        key=(request.key,),
        prompt=request.prompt,
        cached=request.cached,
        output=request.output,
        entered=round(request.entered),
        prefilled=round(request.prefilled),
        finished=round(request.finished),
    )
