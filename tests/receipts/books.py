"""Ledgers for tests, written row by row: runs, their charges, and accounts that fit them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.database import Database
from orchestrator.database.tables import accounts, charges, runs
from orchestrator.ledger import BreakKind, Verification, verify
from orchestrator.ledger.seals import Seal, seal
from orchestrator.steps import RunStatus
from orchestrator.usage import Outcome

__all__ = ["INPUT", "OUTPUT", "START", "Books", "broken", "sealed", "verified"]

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
INPUT, CACHED, OUTPUT = 2_000, 200, 8_000
"""Nano-dollars a token."""
MILLION = 1_000_000


@dataclass
class Books:
    """What is to be written."""

    runs: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    charges: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    limits: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """Of the accounts, by run."""

    def run(self, name: str, *, parent: str | None = None, **more: Any) -> str:
        """Adds a run that completed; its first execution id."""
        root = next((run["root"] for run in self.runs if run["id"] == parent), name)
        started = START + timedelta(minutes=len(self.runs))
        row = {
            "id": name, "root": root, "parent": parent, "workflow_id": f"{name}-w", "workflow": "think",
            "version": "1", "tenant": "default", "status": RunStatus.COMPLETED, "error": None, "path": None,
            "passed": None, "started_at": started, "closed_at": started + timedelta(seconds=30),
        }  # fmt: skip
        self.runs.append(row | more)
        return name

    def charge(self, run: str, step: int | str = 1, attempt: int = 1, **more: Any) -> dict[str, Any]:
        """Adds a row; by default of an engine call that was used and cost what its tokens cost."""
        owner = next(row for row in self.runs if row["id"] == run)
        reserved_at = owner["started_at"] + timedelta(microseconds=1_000 * (len(self.charges) + 1) + 7)
        row: dict[str, Any] = {
            "workflow_id": owner["workflow_id"], "run_id": run, "activity_id": str(step), "attempt": attempt, "call": 0,
            "entry": 0, "reason": None, "run": run, "root": owner["root"], "tenant": owner["tenant"],
            "kind": "generate", "name": "m", "pool": "default", "server": "http://e", "rid": f"{run}-{step}-{attempt}",
            "outcome": Outcome.USED, "reserved_nano": 1_000_000, "reserved_tokens": 500, "reserved_gpu_us": 0,
            "sent_tokens": 100, "prompt_tokens": 100, "cached_tokens": 40, "output_tokens": 10, "reasoning_tokens": 4,
            "queue_us": 5, "prefill_us": 1_000, "decode_us": 20_000, "entered_us": 1, "prefilled_us": 2,
            "finished_us": 3, "gpu_us": None, "estimated": False, "input_price": INPUT * MILLION,
            "cached_price": CACHED * MILLION, "output_price": OUTPUT * MILLION, "gpu_price": 0, "call_price": 0,
            "price_source": "prices:1", "result": {"text": "höflich", "parts": [1, 2.5, None]}, "seal": None,
            "reserved_at": reserved_at, "deadline": reserved_at + timedelta(hours=1),
            "settled_at": reserved_at + timedelta(microseconds=333),
        }  # fmt: skip
        row |= more
        if "cost_nano" not in more:
            uncached = (row["prompt_tokens"] or 0) - (row["cached_tokens"] or 0)
            tokens = uncached * INPUT + (row["cached_tokens"] or 0) * CACHED + (row["output_tokens"] or 0) * OUTPUT
            row["cost_nano"] = tokens
        self.charges.append(row)
        return row

    def opened(self, run: str, step: int | str = 1, attempt: int = 1, **more: Any) -> dict[str, Any]:
        """Adds a row that is reserved and not settled."""
        unknown = (
            "outcome", "prompt_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "queue_us", "prefill_us",
            "decode_us", "entered_us", "prefilled_us", "finished_us", "cost_nano", "result", "settled_at",
        )  # fmt: skip
        return self.charge(run, step, attempt, **dict.fromkeys(unknown), **more)

    def correct(self, row: dict[str, Any], reason: str, **figures: Any) -> dict[str, Any]:
        """Adds a correction of a row, of the figures named."""
        names = (
            "prompt_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "queue_us", "prefill_us",
            "decode_us", "gpu_us", "sent_tokens", "result", "deadline",
        )  # fmt: skip
        key = ("workflow_id", "run_id", "activity_id", "attempt", "call")
        entries = sum(all(other[name] == row[name] for name in key) for other in self.charges)
        correction = row | dict.fromkeys(names) | {
            "entry": entries, "reason": reason, "reserved_nano": 0, "reserved_tokens": 0, "cost_nano": 0,
            "estimated": False, "seal": None, "settled_at": row["settled_at"] + timedelta(seconds=entries),
        }  # fmt: skip
        self.charges.append(correction | figures)
        return self.charges[-1]

    async def write(self, database: Database) -> None:
        """Writes all of it into an empty ledger."""
        async with database.begin() as connection:
            await connection.execute(insert(runs), self.runs)
            await connection.execute(insert(accounts), list(self._accounts()))
            for row in self.charges:
                await connection.execute(insert(charges), row)

    async def add(self, connection: AsyncConnection, row: dict[str, Any]) -> None:
        """Writes a row that came later, and moves the accounts."""
        await connection.execute(insert(charges), row)
        for account in self._accounts():
            totals = {
                name: amount for name, amount in account.items() if name.startswith(("spent", "reserved", "calls"))
            }
            await connection.execute(update(accounts).where(accounts.c.id == account["id"]).values(totals))

    def _accounts(self) -> Iterator[dict[str, Any]]:
        for run in self.runs:
            rows = [row for row in self.charges if row["run"] in set(self._below(run["id"]))]
            settled = [row for row in rows if row["outcome"] is not None]
            waiting = [row for row in rows if row["outcome"] is None]
            limits = dict.fromkeys(("limit_nano", "limit_tokens", "limit_gpu_us", "limit_calls"))
            yield {
                "id": run["id"],
                "tenant": run["tenant"],
                **limits,
                **self.limits.get(run["id"], {}),
                "spent_nano": sum(row["cost_nano"] for row in settled),
                "spent_tokens": sum((row["prompt_tokens"] or 0) + (row["output_tokens"] or 0) for row in settled),
                "spent_gpu_us": sum(row["gpu_us"] or 0 for row in settled),
                "reserved_nano": sum(row["reserved_nano"] for row in waiting),
                "reserved_tokens": sum(row["reserved_tokens"] for row in waiting),
                "reserved_gpu_us": sum(row["reserved_gpu_us"] for row in waiting),
                "calls": sum(row["entry"] == 0 and row["kind"] == "generate" for row in rows),
            }

    def _below(self, run: str) -> Iterable[str]:
        yield run
        for child in self.runs:
            if child["parent"] == run:
                yield from self._below(child["id"])


async def sealed(database: Database, run: str) -> Seal | None:
    """Seals a run in a transaction of its own."""
    async with database.begin() as connection:
        return await seal(connection, run)


async def verified(database: Database, run: str, **more: Any) -> Verification:
    async with database.snapshot() as connection:
        return await verify(connection, run, **more)


def broken(verification: Verification) -> set[tuple[BreakKind, str | None, int | None]]:
    """The breaks that were found: what kind, whose, and of which seal."""
    return {(item.kind, item.run, item.seal) for check in verification.checks for item in check.breaks}
