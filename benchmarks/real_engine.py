"""Attribution on the real SGLang, on this machine's CPU: twenty mixed calls at once, then sums against its own."""

from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import httpx

from orchestrator.attribution import Call, Evidence, Fit, Moments, Stages, split, stages_of
from orchestrator.engine import EngineRequest, SGLang
from orchestrator.engine.counters import EngineCounters, read_counters
from orchestrator.local import EngineServer, prepare_model
from orchestrator.settings import Settings
from orchestrator.steps import Sampling

__all__ = ["Load", "measure_real"]

QUIET = 3.0
"""Seconds: the engine adds to its counter of idle time about every second, and only while it idles."""


@dataclass
class Load:
    """Calls of one engine, and what it told of them."""

    engine: SGLang
    calls: list[Call] = field(default_factory=list[Call])

    async def call(self, name: int, *, prompt: int, output: int, shared: int = 0) -> None:
        """One call with random tokens, the first of them shared with all calls."""
        random = Random(name)
        ids = [100 + i % 900 for i in range(shared)] + [random.randrange(1_000, 40_000) for _ in range(prompt - shared)]
        request = EngineRequest(
            rid=f"{name:032x}", ids=ids, sampling=Sampling(max_tokens=output, temperature=1.0, seed=name)
        )
        generation = [generation async for generation in self.engine.generate(request)][-1]
        usage, moments = generation.usage, generation.moments
        self.calls.append(
            Call(
                key=(name,),
                prompt=usage.prompt,
                cached=usage.cached,
                output=usage.output,
                entered=moments.entered,
                prefilled=moments.prefilled,
                finished=moments.finished,
            )
        )

    async def mixed(self, calls: int) -> None:
        """Short and long calls, some with a common prefix, a few at a time."""
        random = Random(calls)
        slots = anyio.CapacityLimiter(6)

        async def one(name: int) -> None:
            async with slots:
                await self.call(
                    name,
                    prompt=random.choice((40, 120, 360)),
                    output=random.choice((4, 20, 60)),
                    shared=random.choice((0, 32)),
                )

        async with anyio.create_task_group() as tasks:
            for name in range(calls):
                tasks.start_soon(one, name)
                await anyio.sleep(random.random() / 2)


async def _quiet_look(http: httpx.AsyncClient, url: str) -> EngineCounters:
    await anyio.sleep(QUIET)
    return await read_counters(http, url)


async def measure_real(calls: int = 20) -> dict[str, Any]:
    """Starts the engine, sends the calls, and compares sums."""
    settings = Settings()
    model = await prepare_model(settings)
    with TemporaryDirectory(prefix="bench-") as folder:
        server = EngineServer(environment=settings.engine.environment, model=model, log=Path(folder) / "sglang.log")
        async with (
            server.start() as running,
            SGLang.open(running.url) as engine,
            httpx.AsyncClient(trust_env=False, timeout=30) as http,
        ):
            load = Load(engine)
            await load.call(10_000, prompt=50, output=8)
            load.calls.clear()
            before = await _quiet_look(http, running.url)
            await load.mixed(calls)
            after = await _quiet_look(http, running.url)
    return compare(load.calls, before, after)


def compare(calls: list[Call], before: EngineCounters, after: EngineCounters) -> dict[str, Any]:
    """The split of the time between two looks, against what the engine counted in it."""
    start, end = before.at_us, after.at_us
    moments = Moments.between(before.moments, after.moments)
    staged: list[Stages] = [stages for call in calls if (stages := stages_of(call, None)) is not None]
    fit = Fit().learn(staged, start=start, end=end, moments=[] if moments is None else [moments])
    assert before.idle_us is not None
    assert after.idle_us is not None
    idle = after.idle_us - before.idle_us
    piece = Evidence(start=start, end=end, idle_us=idle)
    part = split(staged, start=start, end=end, gpus=1, weights=fit.weights, evidence=[piece])
    busy = end - start - idle
    return {
        "calls": len(calls),
        "timed_calls": sum(call.timed for call in staged),
        "wall_seconds": part.wall / 1e6,
        "attributed_seconds": part.attributed / 1e6,
        "idle_seconds": part.idle / 1e6,
        "overhead_seconds": part.overhead / 1e6,
        "sum_to_wall": (part.attributed + part.idle + part.overhead) / (end - start),
        "engine_busy_seconds": busy / 1e6,
        "attributed_to_engine_busy": part.attributed / busy,
        "attributed_and_overhead_to_engine_busy": (part.attributed + part.overhead) / busy,
        "conserved": sum(part.shares.values()) == part.attributed,
        "method": fit.method,
        "weights": fit.weights.dump(),
    }
