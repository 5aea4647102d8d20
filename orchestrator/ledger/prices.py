"""What a call costs: effective-dated rows of the price book, else the pool's price in the settings."""

from dataclasses import dataclass
from decimal import Decimal

from cachetools import TTLCache
from sqlalchemy import or_, select

from orchestrator.database import Database, now
from orchestrator.database.tables import prices
from orchestrator.settings import PriceSettings
from orchestrator.usage import Usage

__all__ = ["DEFAULT_BOOK", "FREE", "FROM_CACHE", "Price", "PriceBook"]

DEFAULT_BOOK = "default"
"""The book that runs are charged by."""

MILLION = 1_000_000
HOUR_US = 3_600_000_000


@dataclass(frozen=True, kw_only=True)
class Price:
    """Unit prices, and where they come from. With a GPU price, tokens have none of their own."""

    input: int = 0
    """Nano-dollars for a million uncached prompt tokens."""
    cached: int = 0
    output: int = 0
    gpu: int = 0
    """Nano-dollars for a GPU-hour."""
    call: int = 0
    """Nano-dollars for an attempt, whatever becomes of it: of a tool that costs money by the call."""
    source: str

    def cost(self, usage: Usage, gpu_us: int | None = None) -> int:
        """Nano-dollars, rounded half up; what is unknown costs nothing here, so an estimate must fill it in first."""
        if self.gpu:
            return self.call + ((gpu_us or 0) * self.gpu + HOUR_US // 2) // HOUR_US
        cached = min(usage.cached or 0, usage.prompt or 0)
        uncached = (usage.prompt or 0) - cached
        total = uncached * self.input + cached * self.cached + (usage.output or 0) * self.output
        return self.call + (total + MILLION // 2) // MILLION


FREE = Price(source="free")
"""Of steps that take no engine."""

FROM_CACHE = Price(source="cache")
"""Of attempts that a kept result answers."""


class PriceBook:
    """Prices by model and pool. A change of the book is seen within half a minute."""

    def __init__(self, database: Database, default: PriceSettings) -> None:
        self._database = database
        self._default = Price(
            input=_nano(default.input),
            cached=_nano(default.cached_input),
            output=_nano(default.output),
            source="settings",
        )
        self._fresh = TTLCache[tuple[str, str], Price](maxsize=1000, ttl=30)

    async def price(self, model: str, pool: str) -> Price:
        """The price of a model in a pool, now: of the row that names both, else the model, else the pool."""
        if (known := self._fresh.get((model, pool))) is not None:
            return known
        self._fresh[model, pool] = price = await self._look_up(model, pool)
        return price

    async def _look_up(self, model: str, pool: str) -> Price:
        present = now()
        query = (
            select(prices)
            .where(
                prices.c.book == DEFAULT_BOOK,
                prices.c.model.in_((model, "*")),
                prices.c.pool.in_((pool, "*")),
                prices.c.valid_from <= present,
                or_(prices.c.valid_until.is_(None), prices.c.valid_until > present),
            )
            .order_by((prices.c.model == "*"), (prices.c.pool == "*"), prices.c.valid_from.desc())
            .limit(1)
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            return self._default
        source = f"prices:{row.id}"
        if row.gpu_price is not None:
            return Price(gpu=row.gpu_price, source=source)
        return Price(input=row.input_price, cached=row.cached_price, output=row.output_price, source=source)


def _nano(usd: Decimal) -> int:
    return int(usd.scaleb(9))
