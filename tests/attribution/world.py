"""A ledger with calls whose engine times are as the test wants them, and what attribution wrote of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from sqlalchemy import Row, insert, select

from orchestrator.attribution import Attribution
from orchestrator.database import Database
from orchestrator.database.tables import accounts, charges, engine_counters, engine_windows, gpu_shares, runs
from orchestrator.ledger.rows import Attempt

__all__ = ["MINUTE", "SERVER", "T0", "World", "at"]

SERVER = "http://engine:30000"
T0 = 1_800_000_000_000_000
"""A whole minute."""
SECOND = 1_000_000
MINUTE = 60 * SECOND
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_numbers = count()


def at(seconds: float) -> int:
    """Unix time in microseconds, so long after `T0`."""
    return T0 + round(seconds * SECOND)


@dataclass(kw_only=True)
class World:
    database: Database
    attribution: Attribution = field(init=False)
    tenant: str = field(default_factory=lambda: f"tenant-{next(_numbers)}")

    def __post_init__(self) -> None:
        self.attribution = Attribution(self.database)

    async def run(self, name: str, parent: str | None = None) -> str:
        """A run and its account."""
        row = {
            "id": name,
            "root": parent or name,
            "parent": parent,
            "workflow_id": name,
            "workflow": "think",
            "version": "1",
            "tenant": self.tenant,
            "status": "running",
            "started_at": EPOCH + timedelta(microseconds=T0),
        }
        async with self.database.begin() as connection:
            await connection.execute(insert(runs), row)
            await connection.execute(insert(accounts), {"id": name, "tenant": self.tenant})
        return name

    async def limit(self, period: str) -> str:
        account = f"tenant:{self.tenant}:{period}"
        start = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        row = {"id": account, "tenant": self.tenant, "period": period, "period_start": start}
        async with self.database.begin() as connection:
            await connection.execute(insert(accounts), row)
        return account

    async def call(
        self,
        begin: float,
        end: float,
        *,
        run: str,
        prefill: float = 0.1,
        prompt: int = 1000,
        cached: int = 0,
        output: int = 100,
        gpu_us: int | None = None,
        gpu_price: int = 0,
        told: bool = True,
        settled: bool = True,
        server: str = SERVER,
        **more: Any,
    ) -> Attempt:
        """One engine call, in seconds after `T0`; `told` where the engine said when."""
        key = Attempt(workflow_id=run, run_id=run, activity_id=str(next(_numbers)), attempt=1)
        cost = ((gpu_us or 0) * gpu_price + 1_800_000_000) // 3_600_000_000
        row: dict[str, Any] = {
            **key.columns,
            "entry": 0,
            "run": run,
            "root": run,
            "tenant": self.tenant,
            "kind": "generate",
            "name": "m",
            "pool": "default",
            "server": server,
            "reserved_nano": 0,
            "reserved_tokens": 0,
            "reserved_gpu_us": 0,
            "gpu_price": gpu_price,
            "price_source": "test",
            "reserved_at": EPOCH + timedelta(microseconds=at(begin)),
            "estimated": False,
        }
        if settled:
            row |= {
                "outcome": "used",
                "prompt_tokens": prompt,
                "cached_tokens": cached,
                "output_tokens": output,
                "gpu_us": gpu_us,
                "cost_nano": cost,
                "settled_at": EPOCH + timedelta(microseconds=at(end)),
            }
            if told:
                row |= {"entered_us": at(begin), "prefilled_us": at(begin + prefill), "finished_us": at(end)}
        async with self.database.begin() as connection:
            await connection.execute(insert(charges), row | more)
        return key

    async def counted(self, when: float, *, server: str = SERVER, boot: str = "b", **counters: Any) -> None:
        row = {"server": server, "at_us": at(when), "pool": "default", "boot": boot, **counters}
        async with self.database.begin() as connection:
            await connection.execute(insert(engine_counters), row)

    async def advance(self, seconds: float) -> tuple[int, int]:
        """Windows and corrections made, so long after `T0`."""
        advanced = await self.attribution.advance(at(seconds))
        return advanced.windows, advanced.corrections

    async def windows(self, *, final: bool = True) -> Sequence[Row[Any]]:
        query = select(engine_windows).where(engine_windows.c.final.is_(final))
        return await self._all(query.order_by(engine_windows.c.server, engine_windows.c.started_us))

    async def shares(self) -> Sequence[Row[Any]]:
        return await self._all(select(gpu_shares).order_by(gpu_shares.c.started_us, gpu_shares.c.activity_id))

    async def entries(self, key: Attempt) -> Sequence[Row[Any]]:
        """The rows of a call."""
        own = (charges.c[name] == value for name, value in key.columns.items())
        return await self._all(select(charges).where(*own).order_by(charges.c.entry))

    async def account(self, name: str) -> Row[Any]:
        (row,) = await self._all(select(accounts).where(accounts.c.id == name))
        return row

    async def _all(self, query: Any) -> Sequence[Row[Any]]:
        async with self.database.read() as connection:
            return (await connection.execute(query)).all()

    async def gpu_us(self, key: Attempt) -> int:
        """What a call's rows add up to."""
        return sum(row.gpu_us or 0 for row in await self.entries(key))

    async def check(self) -> None:
        """Windows are what they add up to, and so are the calls in them."""
        windows, shares = await self.windows(), await self.shares()
        for window in windows:
            own = [share.gpu_us for share in shares if share[:2] == window[:2]]
            assert sum(own) == window.attributed_us
            assert window.wall_us == window.attributed_us + window.idle_us + window.overhead_us
            assert min(window.attributed_us, window.idle_us, window.overhead_us, *own, 0) == 0
