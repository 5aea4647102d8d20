"""What tokens cost: effective-dated rows of the price book, else the pool's price in the settings."""

from dataclasses import dataclass
from decimal import Decimal

from cachetools import TTLCache
from sqlalchemy import select

from orchestrator.database import Database, now
from orchestrator.database.tables import prices
from orchestrator.settings import PriceSettings
from orchestrator.usage import Usage

__all__ = ["FREE", "Price", "PriceBook"]

MILLION = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Price:
    """Nano-dollars for a million tokens, and where the figures come from."""

    input: int
    cached: int
    output: int
    source: str

    def cost(self, usage: Usage) -> int:
        """Nano-dollars, rounded half up; unknown tokens cost nothing here, so an estimate must fill them in first."""
        cached = min(usage.cached or 0, usage.prompt or 0)
        uncached = (usage.prompt or 0) - cached
        total = uncached * self.input + cached * self.cached + (usage.output or 0) * self.output
        return (total + MILLION // 2) // MILLION


FREE = Price(input=0, cached=0, output=0, source="free")
"""Of steps that take no tokens."""


class PriceBook:
    """Prices by model. A change of the book is seen within half a minute."""

    def __init__(self, database: Database, default: PriceSettings) -> None:
        self._database = database
        self._default = Price(
            input=_nano(default.input),
            cached=_nano(default.cached_input),
            output=_nano(default.output),
            source="settings",
        )
        self._fresh = TTLCache[str, Price](maxsize=1000, ttl=30)

    async def price(self, model: str) -> Price:
        """The price of a model, now."""
        if (known := self._fresh.get(model)) is not None:
            return known
        self._fresh[model] = price = await self._look_up(model)
        return price

    async def _look_up(self, model: str) -> Price:
        query = (
            select(prices)
            .where(prices.c.model == model, prices.c.valid_from <= now())
            .order_by(prices.c.valid_from.desc())
            .limit(1)
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            return self._default
        return Price(input=row.input_price, cached=row.cached_price, output=row.output_price, source=f"prices:{row.id}")


def _nano(usd: Decimal) -> int:
    return int(usd.scaleb(9))
