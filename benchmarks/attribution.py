"""How close attributed GPU time is to what each call truly took, in a simulation; and what simpler ways make of it.

`python -m benchmarks.attribution [--json]`. The engine is simulated step by step, since a real one doesn't say what a
call took of a step; see `benchmarks.simulated_engine`. The estimator sees what SGLang tells: times and tokens of each
call, and `/v1/loads` every half minute. Its weights are fitted to that, from nothing; the first windows count too.

`--real` starts the real SGLang on this machine's CPU instead, and holds what is attributed against the time that the
engine itself says it wasn't idle.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import anyio
import click
from rich.console import Console
from rich.table import Table

from benchmarks.real_engine import measure_real
from benchmarks.simulated_engine import Simulated, simulate
from orchestrator.attribution import Call, CallKey, Fit, Moments, Stages, split, stages_of

RATES = (0.5, 3.0, 6.0)
"""Calls a second: an engine that idles at times, one that hardly does, and one that is full."""
WINDOW = 60_000_000

Shares = Mapping[CallKey, float]


@dataclass(frozen=True)
class Attributed:
    shares: Shares
    conserved: bool
    fit: Fit


def attribute(engine: Simulated) -> Attributed:
    """Window after window, as the job does it: each with the weights that were learned until its end."""
    fit, shares, conserved = Fit(), dict.fromkeys((call.key for call in engine.calls), 0), True
    for start in range(0, round(engine.now) + 1, WINDOW):
        end = start + WINDOW
        calls = _beside(engine, start, end)
        moments = [
            moments
            for (_, before), (at, after) in pairwise(engine.looks)
            if start <= at < end and (moments := Moments.between(before, after)) is not None
        ]
        fit = fit.learn(calls, start=start, end=end, moments=moments)
        part = split(calls, start=start, end=end, gpus=1, weights=fit.weights)
        conserved &= part.attributed + part.idle + part.overhead == part.wall == WINDOW
        conserved &= sum(part.shares.values()) == part.attributed
        for key, share in part.shares.items():
            shares[key] += share
    conserved &= abs(sum(shares.values()) - engine.busy) < 1 + len(engine.calls)  # the clock's whole microseconds
    return Attributed(shares, conserved, fit)


def _beside(engine: Simulated, start: int, end: int) -> list[Stages]:
    """Calls in a window, and those that were active beside them before it."""
    staged = [stages for call in engine.calls if (stages := stages_of(call, None)) is not None]
    first = min((call.start for call in staged if call.start < end and call.end > start), default=start)
    return [call for call in staged if call.start < end and call.end > min(first, start)]


def _in_proportion(weigh: Callable[[Call], float]) -> Callable[[Simulated], Shares]:
    def share(engine: Simulated) -> Shares:
        whole = sum(weigh(call) for call in engine.calls)
        return {call.key: weigh(call) * engine.busy / whole for call in engine.calls}

    return share


def _tokens(call: Call, *, cached: float = 1.0, output: float = 1.0) -> float:
    """Tokens of a call, at relative prices."""
    hit = call.cached or 0
    return (call.prompt or 0) - hit + cached * hit + output * (call.output or 0)


SIMPLER: Mapping[str, Callable[[Simulated], Shares]] = {
    "time in the engine × price": lambda engine: {
        call.key: (call.finished or 0) - (call.entered or 0) for call in engine.calls
    },
    "a price for each token": _in_proportion(_tokens),
    "a price list (cached 0.1, output 4)": _in_proportion(lambda call: _tokens(call, cached=0.1, output=4.0)),
}


def _errors(shares: Shares, engine: Simulated) -> tuple[float, float]:
    """Median and 95th percentile of the calls' relative errors."""
    off = sorted(abs(shares[call.key] / engine.truth[call.key] - 1) for call in engine.calls)
    return median(off), off[int(0.95 * len(off))]


def measure(*, calls: int, seed: int) -> dict[str, Any]:
    """Errors at each load under both kinds of scheduling; the worst of them is the headline."""
    loads: list[dict[str, Any]] = []
    for mixed in (False, True):
        for rate in RATES:
            engine = simulate(rate=rate, calls=calls, seed=seed, mixed=mixed)
            ours = attribute(engine)
            error, p95 = _errors(ours.shares, engine)
            simpler: dict[str, dict[str, float]] = {}
            for name, estimate in SIMPLER.items():
                shares = estimate(engine)
                off = _errors(shares, engine)
                simpler[name] = {
                    "sum_to_busy": sum(shares.values()) / engine.busy,
                    "median_error": off[0],
                    "p95_error": off[1],
                }
            loads.append(
                {
                    "requests_per_second": rate,
                    "mixed_steps": mixed,
                    "utilisation": engine.busy / engine.now,
                    "sum_to_busy": sum(ours.shares.values()) / engine.busy,
                    "median_error": error,
                    "p95_error": p95,
                    "conserved": ours.conserved,
                    "weights": ours.fit.weights.dump(),
                    "simpler": simpler,
                }
            )
    return {
        "simulated": True,
        "median_error": max(load["median_error"] for load in loads),
        "p95_error": max(load["p95_error"] for load in loads),
        "conserved": all(load["conserved"] for load in loads),
        "calls": calls,
        "seed": seed,
        "loads": loads,
    }


def _table(figures: Mapping[str, Any]) -> Table:
    table = Table(title="simulated engine, errors against the truth of each call: median / 95th percentile")
    for column in ("calls/s", "steps", "busy", "ours", *SIMPLER):
        table.add_column(column, justify="left" if column == "steps" else "right")
    for load in figures["loads"]:
        table.add_row(
            f"{load['requests_per_second']:g}",
            "prefill and decode" if load["mixed_steps"] else "prefill or decode",
            f"{load['utilisation']:.0%}",
            _shown(load),
            *(_shown(load["simpler"][name]) for name in SIMPLER),
        )
    return table


def _shown(figures: Mapping[str, float]) -> str:
    whole = "" if round(figures["sum_to_busy"], 2) == 1 else f"{figures['sum_to_busy']:.1f}× the bill, "
    return f"{whole}{figures['median_error']:.1%} / {figures['p95_error']:.0%}"


@click.command()
@click.option("--calls", default=1_000, show_default=True, help="Simulated calls at each load.")
@click.option("--seed", default=7, show_default=True, help="Of the simulation's arrivals and lengths.")
@click.option("--real", is_flag=True, help="Start the real SGLang on the CPU, and compare with its own busy time.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(calls: int, seed: int, real: bool, as_json: bool) -> None:
    """Errors of attributed GPU time, in simulation; or sums on the real engine."""
    figures = anyio.run(measure_real) if real else measure(calls=calls, seed=seed)
    if as_json:
        click.echo(json.dumps(figures))
    elif real:
        for name, figure in figures.items():
            click.echo(f"{name.replace('_', ' ')}: {figure}")
    else:
        Console(width=160).print(_table(figures))
        kept = "to the microsecond" if figures["conserved"] else "NOT"
        click.echo(f"Simulated. Attributed, idle and overhead add up to each window {kept}.")


if __name__ == "__main__":
    main()
