"""Sweeping: rows that a killed worker left open are closed, and estimates are replaced by what the engine recorded.

Runs that were terminated, or ran out of Temporal's own time, are closed as well: their workflow code wasn't asked.

An attempt that is tried again closes its predecessor itself; what is left are the attempts that nobody followed.
Closing one too early loses nothing: if it settles after all, it is corrected.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import exists, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.database import Database, now
from orchestrator.database.tables import charges, runs
from orchestrator.ledger.accounts import bound_of, lineage_of
from orchestrator.ledger.cells import still_estimated
from orchestrator.ledger.charges import Ledger, Settlement, close_row
from orchestrator.ledger.corrections import replace_estimate
from orchestrator.ledger.rows import Attempt, Reason, row_price
from orchestrator.steps import RunScope, RunStatus
from orchestrator.usage import EngineMoments, Outcome, Usage

__all__ = ["Fact", "Facts", "ForcedEndings", "IsOver", "Sweeper", "Swept"]

YOUNG = timedelta(seconds=10)
"""Rows younger than this are left alone: their worker has hardly begun."""
GRACE = timedelta(seconds=30)
"""After an attempt's deadline, for the clocks of workers, database and Temporal to disagree by."""
ASKED_AGAIN = timedelta(hours=2)
"""How long the engine's record of an estimated call is looked for."""
NEVER_COMPUTED = Usage(prompt=0, cached=0, output=0)
"""Of a request that isn't recorded by a server that recorded all it computed."""
FORCED = "it was ended from outside, before it could close its bill"
BATCH = 500
"""So many requests the engines' records are asked for at once; and so many answers make an average."""

IsOver = Callable[[Attempt], Awaitable[bool]]
"""Whether an attempt has ended or been given up, as Temporal sees it."""

ForcedEndings = Callable[[], Awaitable[Mapping[str, RunStatus]]]
"""Runs that were ended lately without a chance to close their bill, by their ids."""


class Fact(Protocol):
    """What an engine recorded of a request."""

    @property
    def usage(self) -> Usage: ...
    @property
    def moments(self) -> EngineMoments: ...


class Facts(Protocol):
    """The engines' own records."""

    async def find(self, rids: Sequence[str]) -> Mapping[str, Fact]:
        """What is recorded of requests, by their ids; those that aren't recorded are missing."""
        ...

    async def covers(self, server: str, since: datetime, until: datetime) -> bool:
        """Whether a server recorded all that it computed in a time, so that what is missing was never computed."""
        ...


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What a sweep did."""

    from_facts: int = 0
    """Open rows closed by the engine's record."""
    estimated: int = 0
    """Open rows closed by an estimate, and marked so."""
    corrected: int = 0
    """Estimates replaced by the engine's record."""
    left: int = 0
    """Open rows whose attempts may still be running."""
    closed: int = 0
    """Runs closed that were ended by force."""


class Sweeper:
    """Closes what was left open. Several may sweep the same ledger at once."""

    def __init__(
        self,
        database: Database,
        *,
        is_over: IsOver,
        facts: Facts | None = None,
        forced_endings: ForcedEndings | None = None,
    ) -> None:
        self._database = database
        self._is_over = is_over
        self._facts = facts
        self._forced_endings = forced_endings

    async def sweep(self, *, young: timedelta = YOUNG) -> Swept:
        """One sweep over all open and estimated rows."""
        async with self._database.read() as connection:
            rows = await self._open_rows(connection, young)
        over = [row for row in rows if await self._ended(row)]
        known = await self._known(over)
        from_facts = estimated = 0
        for row in over:
            fact = known.get(row.rid)
            if await self._abandon(row, fact):
                from_facts += fact is not None
                estimated += fact is None
        return Swept(
            from_facts=from_facts,
            estimated=estimated,
            corrected=await self._correct(),
            left=len(rows) - len(over),
            closed=await self._close_runs(),
        )

    async def _open_rows(self, connection: AsyncConnection, young: timedelta) -> Sequence[Any]:
        query = select(charges).where(charges.c.outcome.is_(None), charges.c.reserved_at < now() - young)
        return (await connection.execute(query.order_by(charges.c.reserved_at))).all()

    async def _ended(self, row: Any) -> bool:
        if row.deadline is not None and row.deadline + GRACE < now():
            return True
        return await self._is_over(Attempt.of(row))

    async def _known(self, rows: Sequence[Any]) -> Mapping[str, Fact]:
        rids = [row.rid for row in rows if row.rid is not None]
        known: dict[str, Fact] = {}
        if self._facts is not None:
            for first in range(0, len(rids), BATCH):
                known |= await self._facts.find(rids[first : first + BATCH])
        return known

    async def _abandon(self, row: Any, fact: Fact | None) -> bool:
        async with self._database.begin() as connection:
            outcome = Outcome.RETRIED if await _was_followed(connection, row) else Outcome.ABANDONED
            if fact is not None:
                settlement = Settlement(outcome=outcome, usage=fact.usage, moments=fact.moments)
            else:
                usage = await _estimate(connection, row)
                settlement = Settlement(outcome=outcome, usage=usage, estimated=True)
            above = await lineage_of(connection, row.run, row.tenant)
            return await close_row(connection, Attempt.of(row), settlement, row_price(row), bound_of(row), above)

    async def _close_runs(self) -> int:
        """Closes the bills of runs that were ended by force."""
        if self._forced_endings is None or not (ended := await self._forced_endings()):
            return 0
        query = select(runs).where(runs.c.id.in_(ended), runs.c.closed_at.is_(None))
        async with self._database.read() as connection:
            unclosed = (await connection.execute(query)).all()
        for row in unclosed:
            scope = RunScope(
                tenant=row.tenant,
                workflow=row.workflow,
                version=row.version,
                run=row.id,
                workflow_id=row.workflow_id,
                started_at=row.started_at,
            )
            await Ledger(self._database).close_run(scope, ended[row.id], FORCED)
        return len(unclosed)

    async def _correct(self) -> int:
        if self._facts is None:
            return 0
        query = select(charges).where(
            still_estimated(charges.c),
            charges.c.rid.is_not(None),
            charges.c.outcome.is_not(None),
            charges.c.reserved_at > now() - ASKED_AGAIN,
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        known = await self._known(rows)
        corrected = 0
        for row in rows:
            if (fact := known.get(row.rid)) is not None:
                usage, moments = fact.usage, fact.moments
            elif await self._facts.covers(row.server, row.reserved_at, row.settled_at):
                usage, moments = NEVER_COMPUTED, EngineMoments()
            else:
                continue
            async with self._database.begin() as connection:
                corrected += await replace_estimate(connection, Attempt.of(row), Reason.FACTS, usage, moments, None)
        return corrected


async def _was_followed(connection: AsyncConnection, row: Any) -> bool:
    """Whether another attempt of the step came after it."""
    later = select(exists().where(Attempt.of(row).step, charges.c.attempt > row.attempt))
    return bool((await connection.execute(later)).scalar())


async def _estimate(connection: AsyncConnection, row: Any) -> Usage:
    """The prompt that was sent, and the output that the same workflow's calls of the same model had on average.

    At most what was reserved; all of that where there is no such call. A prompt counts as uncached.
    """
    if row.sent_tokens is None:
        return Usage()
    at_most = max(0, row.reserved_tokens - row.sent_tokens)
    workflow = select(runs.c.workflow).where(runs.c.id == row.run).scalar_subquery()
    usual = (
        select(charges.c.output_tokens)
        .join(runs, runs.c.id == charges.c.run)
        .where(
            runs.c.workflow == workflow,
            charges.c.name == row.name,
            charges.c.outcome == Outcome.USED,
            charges.c.entry == 0,
            charges.c.output_tokens.is_not(None),
        )
        .order_by(charges.c.reserved_at.desc())
        .limit(BATCH)
        .subquery()
    )
    mean = (await connection.execute(select(func.avg(usual.c.output_tokens)))).scalar()
    return Usage(prompt=row.sent_tokens, output=at_most if mean is None else min(at_most, round(mean)))
