"""Engines that only count, and rows of calls on them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from sqlalchemy import insert

from orchestrator.database import Database
from orchestrator.database.tables import charges, engine_counters, runs

__all__ = ["SERVER", "START", "Books", "at"]

SERVER = "http://engine:30000"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


Tokens = tuple[int | None, int | None, int | None]
"""Prompt, cached and output tokens."""


def at(seconds: float) -> datetime:
    """So long after the start."""
    return START + timedelta(seconds=seconds)


def us(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


@dataclass
class Books:
    """Writes rows as the ledger and the sampler do."""

    database: Database
    _numbers: "count[int]" = field(default_factory=count)

    async def begin(self) -> "Books":
        await self._write(
            runs,
            {
                "id": "run",
                "root": "run",
                "workflow_id": "w",
                "workflow": "think",
                "version": "1",
                "tenant": "default",
                "status": "running",
                "started_at": START,
            },
        )
        return self

    async def snapshot(self, seconds: float, *, server: str = SERVER, boot: str = "one", **counted: Any) -> None:
        values = {"server": server, "at_us": us(at(seconds)), "pool": "default", "boot": boot, **counted}
        await self._write(engine_counters, values)

    async def call(
        self,
        ended: float | None,
        tokens: Tokens,
        *,
        server: str = SERVER,
        outcome: str | None = "used",
        reserved: float | None = None,
        **more: Any,
    ) -> Mapping[str, Any]:
        """A call with its prompt, cached and output tokens; its row."""
        begun = (ended or 0) - 1 if reserved is None else reserved
        row = self._row(ended, tokens, server=server, outcome=outcome, activity_id=str(next(self._numbers)))
        row |= {"reserved_at": at(begun), "settled_at": None if outcome is None else at(begun + 2), **more}
        await self._write(charges, row)
        return row

    async def correct(
        self,
        row: Mapping[str, Any],
        ended: float | None,
        tokens: Tokens,
        **more: Any,
    ) -> None:
        """Another row of the call."""
        correction = self._row(ended, tokens, server=row["server"], outcome=row["outcome"], activity_id="")
        await self._write(charges, {**row, **correction, "activity_id": row["activity_id"], "entry": 1, **more})

    def _row(
        self,
        ended: float | None,
        tokens: Tokens,
        *,
        server: str,
        outcome: str | None,
        activity_id: str,
    ) -> dict[str, Any]:
        prompt, cached, output = tokens
        return {
            "workflow_id": "w",
            "run_id": "run",
            "activity_id": activity_id,
            "attempt": 1,
            "call": 0,
            "entry": 0,
            "run": "run",
            "root": "run",
            "tenant": "default",
            "kind": "generate",
            "name": "model",
            "server": server,
            "outcome": outcome,
            "reserved_nano": 0,
            "reserved_tokens": 0,
            "reserved_gpu_us": 0,
            "prompt_tokens": prompt,
            "cached_tokens": cached,
            "output_tokens": output,
            "finished_us": None if ended is None else us(at(ended)),
            "cost_nano": 0,
            "estimated": False,
        }

    async def _write(self, table: Any, values: Mapping[str, Any]) -> None:
        async with self.database.begin() as connection:
            await connection.execute(insert(table), dict(values))
