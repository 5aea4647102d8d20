"""From final shares to charges: what a call's charge says of GPU time becomes what its windows say.

The state decides, not a memory of what was done: a call is corrected while its windows are all final and its rows don't
add up to its shares. So a correction is made once, whoever makes it, and also where a run of the job broke off before
it, or where a later correction of another kind moved the figure.
"""

from collections.abc import Sequence

from sqlalchemy import func, select, union
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.attribution.observed import KEY, call_of
from orchestrator.attribution.work import Call
from orchestrator.database import Database
from orchestrator.database.tables import charges, engine_windows, gpu_shares
from orchestrator.ledger.corrections import correct, locked_rows
from orchestrator.ledger.rows import CALL, Attempt, Reason, row_price, same_call
from orchestrator.ledger.timeframes import unix_us
from orchestrator.usage import Usage

__all__ = ["correct_charges"]


async def correct_charges(database: Database, server: str, *, since: int, until: int, longest: int) -> int:
    """Corrects the charges of a server's calls that ended in a time and lie in final windows; how many.

    Each in a transaction of its own, with the accounts that it counts against, so that nobody waits for more than one.
    """
    async with database.read() as connection:
        calls = await _differing(connection, server, since, until, longest)
    return sum([await _correct(database, server, call) for call in calls])


async def _differing(
    connection: AsyncConnection, server: str, since: int, until: int, longest: int
) -> Sequence[Attempt]:
    """Calls whose rows don't add up to their shares."""
    shared = tuple(gpu_shares.c[name] for name in CALL)
    ended = select(*KEY).where(
        charges.c.server == server, charges.c.finished_us >= since, charges.c.finished_us < until
    )
    got = (gpu_shares.c.server == server, gpu_shares.c.started_us < until)
    touched = union(ended, select(*shared).where(*got, gpu_shares.c.started_us >= since)).subquery()
    share = (
        select(*shared, func.sum(gpu_shares.c.gpu_us).label("gpu_us"))
        .where(*got, gpu_shares.c.started_us >= since - longest)
        .group_by(*shared)
        .subquery()
    )
    here = tuple(touched.c[name] for name in CALL)
    query = (
        select(*here)
        .join(charges, same_call(charges.c, touched.c))
        .outerjoin(share, same_call(share.c, touched.c))
        .group_by(*here, share.c.gpu_us)
        .having(func.coalesce(func.sum(charges.c.gpu_us), 0) != func.coalesce(share.c.gpu_us, 0))
        .order_by(*here)
    )
    return [Attempt.of(row) for row in await connection.execute(query.select_from(touched))]


async def _correct(database: Database, server: str, call: Attempt) -> int:
    async with database.begin() as connection:
        rows = await locked_rows(connection, call)
        if not rows or (base := rows[0]).outcome is None:
            return 0
        share = await _final_share(connection, server, call_of(rows), unix_us(base.settled_at))
        gpu_us = sum(row.gpu_us or 0 for row in rows)
        if share is None or share == gpu_us:
            return 0
        figures = {"gpu_us": share - gpu_us}
        if base.gpu_price:
            figures["cost_nano"] = row_price(base).cost(Usage(), share) - sum(row.cost_nano for row in rows)
        await correct(connection, base, Reason.ATTRIBUTION, figures)
    return 1


async def _final_share(connection: AsyncConnection, server: str, call: Call, settled: int) -> int | None:
    """The sum of a call's shares, unless a part of it lies in no final window."""
    start, end = _span(call, settled)
    window = engine_windows.c
    mine = (window.server == server, window.final.is_(True))
    first = select(func.max(window.started_us)).where(*mine, window.started_us <= start).scalar_subquery()
    query = select(engine_windows).where(*mine, window.started_us >= first, window.started_us < end)
    covered = start
    for row in await connection.execute(query.order_by(window.started_us)):
        if row.started_us > covered:
            return None
        covered = row.started_us + row.wall_us // row.gpus
    if covered < end:
        return None
    own = (gpu_shares.c[name] == value for name, value in zip(CALL, call.key, strict=True))
    total = select(func.sum(gpu_shares.c.gpu_us)).where(
        gpu_shares.c.server == server, gpu_shares.c.started_us >= first, gpu_shares.c.started_us < end, *own
    )
    return int((await connection.execute(total)).scalar_one() or 0)


def _span(call: Call, settled: int) -> tuple[int, int]:
    """When a call was active, at most."""
    start = next(time for time in (call.entered, call.prefilled, call.finished, call.began) if time is not None)
    end = settled if call.finished is None else call.finished
    return start, max(end, start + 1)
