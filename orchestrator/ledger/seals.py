"""Seals: a hash chain over a run's charges, so that a bill that was changed afterwards can be told.

A seal covers the settled rows of one run that no earlier seal covers. Its head is the SHA-256 of lines of ASCII, each
ended by a line feed: first `{"before":HEAD,"number":NUMBER,"run":RUN}`, where HEAD is that of the seal before, or
`null`; then one line for each row, in the order of their keys. A line is JSON with sorted keys and no spaces. A row's
holds every column but `seal`; null ones are left out, so that a column added later leaves earlier seals as they are;
times are in UTC, to the microsecond; of `result`, which can be long, it holds the SHA-256 of its JSON.

Whoever can write to the database can also write the chain anew, so keep a head elsewhere to be sure of what it covers:
rows that come later extend the chain, and never change the head of an earlier seal.
"""

import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.database import now
from orchestrator.database.tables import charges, runs, seals

__all__ = ["Key", "Seal", "head_of", "key_of", "last_seal", "line_of", "seal"]

Key = tuple[str, str, str, int, int, int]

_COLUMNS = tuple(column.name for column in charges.c if column.name not in ("result", "seal"))


class Seal(BaseModel):
    """One link of the chain."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    number: int
    """From 1 on."""
    rows: int
    """How many charges it covers."""
    head: str
    """SHA-256 over the head before and the rows covered, in hexadecimal."""
    sealed_at: datetime


async def seal(connection: AsyncConnection, run: str) -> Seal | None:
    """Seals the settled rows of a run that aren't sealed yet; `None` where there are none.

    For the end of a run, and for each later transaction that settles or corrects a row of a run that has ended: as its
    last statement, so that it waits for nobody while others wait for its locks. Those who seal the same run at the
    same time do it one after another.
    """
    # On PostgreSQL; on SQLite, the next statement takes the lock that admits one writer. New rows refer to the run,
    # and needn't wait.
    await connection.execute(select(runs.c.id).where(runs.c.id == run).with_for_update(key_share=True))
    newest = select(func.coalesce(func.max(seals.c.number), 0)).where(seals.c.run == run).scalar_subquery()
    # Marked first and read then, so that what is hashed is what is marked.
    marked = await connection.execute(
        update(charges)
        .where(charges.c.run == run, charges.c.seal.is_(None), charges.c.outcome.is_not(None))
        .values(seal=newest + 1)
    )
    if not marked.rowcount:
        return None
    before = await last_seal(connection, run)
    number = 1 if before is None else before.number + 1
    rows = (await connection.execute(select(charges).where(charges.c.run == run, charges.c.seal == number))).all()
    lines = [line_of(row) for row in sorted(rows, key=key_of)]
    head = head_of(run, number, None if before is None else before.head, lines)
    made = Seal(number=number, rows=len(lines), head=head, sealed_at=now())
    await connection.execute(insert(seals), {"run": run, **made.model_dump()})
    return made


async def last_seal(connection: AsyncConnection, run: str) -> Seal | None:
    """The newest seal of a run; its head stands for all that is sealed of the run."""
    query = select(seals).where(seals.c.run == run).order_by(seals.c.number.desc()).limit(1)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else Seal.model_validate(row)


def key_of(row: Any) -> Key:
    """A row's key. Sorted here and not by the database, since databases disagree on the order of texts."""
    return (row.workflow_id, row.run_id, row.activity_id, row.attempt, row.call, row.entry)


def line_of(row: Any) -> bytes:
    """A row as it is hashed."""
    known = {name: value for name in _COLUMNS if (value := getattr(row, name)) is not None}
    if row.result is not None:
        known["result"] = hashlib.sha256(_json(row.result)).hexdigest()
    return _json(known)


def head_of(run: str, number: int, before: str | None, lines: Iterable[bytes]) -> str:
    """The head of a seal over rows in the order of their keys."""
    digest = hashlib.sha256(_json({"run": run, "number": number, "before": before}) + b"\n")
    for line in lines:
        digest.update(line + b"\n")
    return digest.hexdigest()


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_moment).encode("ascii")


def _moment(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="microseconds")
