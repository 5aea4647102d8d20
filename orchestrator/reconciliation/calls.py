"""The ledger's calls of one server, each with all its rows added up: base row and corrections."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import and_, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.database.tables import charges
from orchestrator.ledger.rows import CALL, TOLD
from orchestrator.ledger.timeframes import at_unix_us, unix_us

__all__ = ["Call", "calls_of"]

LONGEST = timedelta(days=1)
"""A call that ended within a period was reserved at most so long before it."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One attempt at an engine, whatever its outcome."""

    at_us: int
    """When it ended, by the engine's clock; where no engine said so, when it was reserved."""
    prompt: int
    cached: int
    output: int
    open: bool
    estimated: bool

    @property
    def computed(self) -> bool:
        """Whether the engine computed anything for it."""
        return self.prompt > 0 or self.output > 0


async def calls_of(connection: AsyncConnection, server: str, since_us: int, until_us: int) -> AsyncGenerator[Call]:
    """The calls that ended in a period, and the open ones that were reserved before its end; in no order."""
    first, base = at_unix_us(since_us) - LONGEST, charges.c.entry == 0
    query = (
        select(
            func.sum(charges.c.prompt_tokens).label("prompt"),
            func.sum(charges.c.cached_tokens).label("cached"),
            func.sum(charges.c.output_tokens).label("output"),
            func.max(charges.c.finished_us).label("finished_us"),
            func.min(charges.c.reserved_at).label("reserved_at"),
            func.sum(case((and_(base, charges.c.outcome.is_(None)), 1), else_=0)).label("open"),
            func.sum(case((and_(base, charges.c.estimated), 1), else_=0)).label("estimated"),
            func.sum(case((charges.c.reason.in_(TOLD), 1), else_=0)).label("told"),
        )
        .where(charges.c.server == server, charges.c.reserved_at > first, charges.c.reserved_at <= at_unix_us(until_us))
        .group_by(*(charges.c[name] for name in CALL))
    )
    async for row in await connection.stream(query):
        at_us = unix_us(row.reserved_at) if row.finished_us is None else row.finished_us
        if since_us < at_us <= until_us or row.open:
            yield Call(
                at_us=at_us,
                prompt=int(row.prompt or 0),
                cached=int(row.cached or 0),
                output=int(row.output or 0),
                open=bool(row.open),
                estimated=bool(row.estimated) and not row.told,
            )
