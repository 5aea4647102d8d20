"""What a step of ours costs over a bare Temporal activity: reserved, settled and heartbeating, against a no-op.

`python -m benchmarks.step_overhead [--json]`. Each kind runs alternately on the same server, so that noise hits all.
"""

import asyncio
import json
import time
import uuid
from dataclasses import dataclass
from statistics import median

import anyio
import click
from rich.console import Console
from rich.table import Table
from temporalio.client import Client

from benchmarks.programs import app
from benchmarks.stack import bench_stack
from orchestrator.testing import Say


@dataclass(frozen=True)
class Kind:
    """Something that is measured."""

    name: str
    workflow: str
    task_queue: str


BARE = Kind("bare Temporal, no-op activity", "BareSteps", "bare")
TOOL = Kind("ours, no-op tool, ledger on", "tool_steps", app.task_queue)
GENERATE = Kind("ours, engine call, ledger on", "generate_steps", app.task_queue)
KINDS = (BARE, TOOL, GENERATE)


async def _run(client: Client, kind: Kind, steps: int) -> float:
    began = time.perf_counter()
    await client.execute_workflow(kind.workflow, steps, id=uuid.uuid4().hex, task_queue=kind.task_queue)
    return time.perf_counter() - began


async def _latency(client: Client, kind: Kind, steps: int) -> float:
    """Seconds that each further step adds, one run at a time."""
    short, long = await _run(client, kind, 1), await _run(client, kind, 1 + steps)
    return (long - short) / steps


async def _throughput(client: Client, kind: Kind, *, runs: int, steps: int) -> float:
    """Steps per second with many runs at once."""
    began = time.perf_counter()
    await asyncio.gather(*(_run(client, kind, steps) for _ in range(runs)))
    return runs * steps / (time.perf_counter() - began)


async def measure(rounds: int, steps: int, runs: int) -> dict[str, float]:
    """Medians of `rounds` rounds, and their ratios to the bare workflow's."""
    latencies: dict[str, list[float]] = {kind.workflow: [] for kind in KINDS}
    throughputs: dict[str, list[float]] = {kind.workflow: [] for kind in KINDS}
    async with bench_stack(lambda _: Say("y")) as (client, _):
        for kind in KINDS:
            await _run(client, kind, 3)
        for _ in range(rounds):
            for kind in KINDS:
                latencies[kind.workflow].append(await _latency(client, kind, steps))
            for kind in KINDS:
                throughputs[kind.workflow].append(await _throughput(client, kind, runs=runs, steps=steps))
    figures = {f"{name}_latency_ms": 1000 * median(values) for name, values in latencies.items()}
    figures |= {f"{name}_steps_per_second": median(values) for name, values in throughputs.items()}
    for prefix, kind in (("", TOOL), ("generate_", GENERATE)):
        latency, bare_latency = figures[f"{kind.workflow}_latency_ms"], figures["BareSteps_latency_ms"]
        rate, bare_rate = figures[f"{kind.workflow}_steps_per_second"], figures["BareSteps_steps_per_second"]
        figures[f"{prefix}latency_ratio"] = latency / bare_latency
        figures[f"{prefix}throughput_ratio"] = rate / bare_rate
    return figures


@click.command()
@click.option("--rounds", default=5, show_default=True)
@click.option("--steps", default=20, show_default=True, help="Steps of a run.")
@click.option("--runs", default=20, show_default=True, help="Runs at once, for throughput.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(rounds: int, steps: int, runs: int, as_json: bool) -> None:
    """Latency and throughput of our steps against bare Temporal activities."""
    figures = anyio.run(measure, rounds, steps, runs)
    if as_json:
        click.echo(json.dumps(figures))
        return
    table = Table("", "added latency per step", "", "steps/s", "")
    for kind, prefix in ((BARE, None), (TOOL, ""), (GENERATE, "generate_")):
        ratios = (
            [f"{figures[f'{prefix}{what}_ratio']:.2f}×" for what in ("latency", "throughput")]
            if prefix is not None
            else ["", ""]
        )
        latency, rate = figures[f"{kind.workflow}_latency_ms"], figures[f"{kind.workflow}_steps_per_second"]
        table.add_row(kind.name, f"{latency:.1f} ms", ratios[0], f"{rate:.0f}", ratios[1])
    Console().print(table)


if __name__ == "__main__":
    main()
