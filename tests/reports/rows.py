"""Writes rows of the ledger as they are after the fact, without the code that makes them."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from sqlalchemy import delete

from orchestrator.database import Database
from orchestrator.database.tables import accounts, charges, engine_windows, prices, runs
from orchestrator.ledger import Price
from orchestrator.usage import Usage

__all__ = ["MARCH", "PRICE", "Rows"]

MARCH = datetime(2026, 3, 1, tzinfo=UTC)
PRICE = Price(input=2_000_000_000, cached=200_000_000, output=8_000_000_000, source="test")
"""2,000, 200 and 8,000 nano-dollars a token."""

_FIGURES = (
    "prompt_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "queue_us", "prefill_us", "decode_us",
    "gpu_us", "cost_nano",
)  # fmt: skip


class Rows:
    """Gathers rows, to put them into a database."""

    def __init__(self) -> None:
        self.runs: list[dict[str, Any]] = []
        self.charges: list[dict[str, Any]] = []
        self.windows: list[dict[str, Any]] = []
        self.prices: list[dict[str, Any]] = []
        self._number = count(1)

    def run(self, workflow: str = "answer", *, parent: dict[str, Any] | None = None, **columns: Any) -> dict[str, Any]:
        """A run that completed in an hour of the first of March, unless told otherwise."""
        number = next(self._number)
        row = {
            "id": f"run-{number}",
            "root": parent["root"] if parent else f"run-{number}",
            "parent": parent and parent["id"],
            "workflow_id": f"{workflow}-{number}",
            "workflow": workflow,
            "version": "1",
            "tenant": parent["tenant"] if parent else "acme",
            "status": "completed",
            "error": None,
            "path": None,
            "passed": None,
            "started_at": MARCH,
            "closed_at": MARCH + timedelta(hours=1),
            **columns,
        }
        self.runs.append(row)
        return row

    def charge(
        self,
        run: Mapping[str, Any],
        usage: Usage | None = None,
        *,
        price: Price = PRICE,
        gpu_us: int | None = None,
        at: datetime = MARCH,
        **columns: Any,
    ) -> dict[str, Any]:
        """A used engine call of the run, reserved at `at` and settled a second later, unless told otherwise."""
        usage = Usage() if usage is None else usage
        row = {
            "workflow_id": run["workflow_id"],
            "run_id": run["id"],
            "activity_id": str(next(self._number)),
            "attempt": 1,
            "call": 0,
            "entry": 0,
            "reason": None,
            "run": run["id"],
            "root": run["root"],
            "tenant": run["tenant"],
            "kind": "generate",
            "name": "qwen",
            "pool": "default",
            "outcome": "used",
            "reserved_nano": 0,
            "reserved_tokens": 0,
            "reserved_gpu_us": 0,
            **dict.fromkeys(_FIGURES),
            "prompt_tokens": usage.prompt,
            "cached_tokens": usage.cached,
            "output_tokens": usage.output,
            "reasoning_tokens": usage.reasoning,
            "gpu_us": gpu_us,
            "cost_nano": price.cost(usage, gpu_us),
            "estimated": False,
            "input_price": price.input,
            "cached_price": price.cached,
            "output_price": price.output,
            "gpu_price": price.gpu,
            "call_price": price.call,
            "price_source": price.source,
            "reserved_at": at,
            "settled_at": at + timedelta(seconds=1),
            **columns,
        }
        self.charges.append(row)
        return row

    def correct(
        self, row: Mapping[str, Any], reason: str, *, at: datetime | None = None, **columns: Any
    ) -> dict[str, Any]:
        """A correction of a row by differences."""
        entries = [each["entry"] for each in self.charges if each["activity_id"] == row["activity_id"]]
        made = {
            **row,
            **dict.fromkeys(_FIGURES),
            "cost_nano": 0,
            "entry": max(entries) + 1,
            "reason": reason,
            "estimated": False,
            "settled_at": at or row["settled_at"] + timedelta(minutes=1),
            **columns,
        }
        self.charges.append(made)
        return made

    def reused(self, row: Mapping[str, Any], usage: Usage, *, gpu_us: int | None = None, **columns: Any) -> None:
        """Corrects a call to what it really used."""
        price = Price(
            input=row["input_price"], cached=row["cached_price"], output=row["output_price"], gpu=row["gpu_price"],
            source="test",
        )  # fmt: skip
        so_far = [each for each in self.charges if each["activity_id"] == row["activity_id"]]
        total = {name: sum(each[name] or 0 for each in so_far) for name in _FIGURES}
        new = {
            "prompt_tokens": usage.prompt,
            "cached_tokens": usage.cached,
            "output_tokens": usage.output,
            "reasoning_tokens": usage.reasoning,
            "gpu_us": gpu_us,
            "cost_nano": price.cost(usage, gpu_us),
        }
        changes = {name: None if figure is None else figure - total[name] for name, figure in new.items()}
        more: dict[str, Any] = {**changes, **columns}
        self.correct(row, "facts", **more)

    def discard(self, row: Mapping[str, Any], **columns: Any) -> None:
        """Moves all that a used call cost to discarded."""
        so_far = [each for each in self.charges if each["activity_id"] == row["activity_id"]]
        known = {name: [each[name] for each in so_far if each[name] is not None] for name in _FIGURES}
        sums = {name: sum(figures) if figures else None for name, figures in known.items()}
        self.correct(row, "discard", **{name: sum_ and -sum_ for name, sum_ in sums.items()}, **columns)
        self.correct(row, "discard", **sums, outcome="discarded", **columns)

    def window(self, *, idle_us: int, at: datetime = MARCH, overhead_us: int = 0, **columns: Any) -> None:
        """A window of an engine in pool `default`, whose GPU-hour costs 3.6 dollars: a nano-dollar a microsecond."""
        self.windows.append(
            {
                "server": f"server-{next(self._number)}",
                "started_us": int(at.timestamp()) * 1_000_000,
                "pool": "default",
                "gpus": 1,
                "gpu_price": 3_600_000_000,
                "wall_us": idle_us + overhead_us,
                "attributed_us": 0,
                "idle_us": idle_us,
                "overhead_us": overhead_us,
                "final": True,
                "method": "fitted",
                "weights": {},
                **columns,
            }
        )

    def price(self, price: Price, *, at: datetime = MARCH - timedelta(days=365), **columns: Any) -> None:
        """A row of the price book `other`, for any model in any pool."""
        by_gpu = price.gpu > 0
        self.prices.append(
            {
                "book": "other",
                "model": "*",
                "pool": "*",
                "input_price": None if by_gpu else price.input,
                "cached_price": None if by_gpu else price.cached,
                "output_price": None if by_gpu else price.output,
                "gpu_price": price.gpu if by_gpu else None,
                "valid_from": at,
                "valid_until": None,
                "source": "test",
                "created_at": MARCH,
                **columns,
            }
        )

    async def write(self, database: Database) -> None:
        """Puts the rows in place of all that was there."""
        async with database.begin() as connection:
            for table in (charges, accounts, runs, engine_windows, prices):
                await connection.execute(delete(table))
        await self.add(database)

    async def add(self, database: Database) -> None:
        """Puts the rows beside what is there."""
        tables = ((runs, self.runs), (charges, self.charges), (engine_windows, self.windows), (prices, self.prices))
        async with database.begin() as connection:
            for table, rows in tables:
                if rows:
                    await connection.execute(table.insert(), rows)
