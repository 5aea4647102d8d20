"""Temporal history of a tool loop at 10, 30 and 100 calls, beside what carrying the conversation in each call takes.

`python -m benchmarks.history_growth [--json]`. The conversation has 2,000 tokens a call: 200,000 at 100 calls. The
baseline is counted, not run: every model call takes the whole conversation so far as its input, as agent integrations
of Temporal do (temporalio/sdk-python#1890), so history holds each message once for every later call.
"""

import json
import uuid

import anyio
import click
from rich.console import Console
from rich.table import Table

from benchmarks.programs import Loop, app
from benchmarks.stack import bench_stack
from orchestrator.testing import CallTool, Reply, Say, ScriptedRequest

CALLS = (10, 30, 100)
PAGE = 8_000
"""Characters of a tool's result, about 2,000 tokens."""


async def measure() -> dict[str, int]:
    """Bytes of history by number of calls, ours and the baseline's."""
    calls = 0

    def script(request: ScriptedRequest) -> Reply:
        if request.step < calls:
            return CallTool("read_page", number=request.step, size=PAGE)
        return Say("Everything is blue.")

    figures: dict[str, int] = {}
    async with bench_stack(script) as (client, engine):
        for calls in CALLS:
            first = len(engine.requests)
            run_id = uuid.uuid4().hex
            await client.execute_workflow("tool_loop", Loop(steps=calls), id=run_id, task_queue=app.task_queue)
            description = await client.get_workflow_handle(run_id).describe()
            figures[f"history_bytes_{calls}"] = description.raw_description.workflow_execution_info.history_size_bytes
            requests = engine.requests[first:]
            figures[f"tokens_{calls}"] = requests[-1].request.prompt_tokens
            figures[f"baseline_bytes_{calls}"] = sum(len(record.prompt.encode()) for record in requests)
    return figures


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(as_json: bool) -> None:
    """History bytes, ours and with the conversation in every call."""
    figures = anyio.run(measure)
    if as_json:
        click.echo(json.dumps(figures))
        return
    table = Table("calls", "tokens at the end", "our history", "conversation in each call", "")
    for calls in CALLS:
        ours, theirs = figures[f"history_bytes_{calls}"], figures[f"baseline_bytes_{calls}"]
        table.add_row(
            str(calls),
            f"{figures[f'tokens_{calls}']:,}",
            f"{ours:,} bytes",
            f"{theirs:,} bytes",
            f"{theirs / ours:.0f}×",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
