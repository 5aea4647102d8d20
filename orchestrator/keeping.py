"""Results that are kept for a while and handed out again, by the hash of all that they depend on.

A cache, so any of them may go at any time. What is kept for one tenant is never found for another: the tenant is part
of each key, and is looked at again when a result is found.
"""

import asyncio
import hashlib
import json
import zlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from weakref import WeakValueDictionary

from pydantic import JsonValue
from sqlalchemy import delete, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.background import repeating
from orchestrator.database import Database, now
from orchestrator.database.tables import kept_results
from orchestrator.usage import Savings, usd_from_nano

__all__ = ["LARGEST", "Kept", "KeptResults", "key_of", "pruning"]

LARGEST = 1024 * 1024
"""Bytes of one result, compressed; what is larger isn't kept."""

EVERY = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A result that was found."""

    value: Mapping[str, Any]
    saved: Savings
    """What it cost when it was made."""


def key_of(tenant: str, *asked: JsonValue) -> str:
    """Names a result by whose it is and all that it depends on: 64 hex digits."""
    canonical = json.dumps([tenant, *asked], ensure_ascii=True, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


class KeptResults:
    """The results that one process keeps and finds, with all others that share the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._alone: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def alone(self, key: str) -> AsyncGenerator[None]:
        """Waits while anybody else in this process is about to make the same result.

        Other processes may make it too: then it is made twice, paid for by whoever made it, and kept once.
        """
        lock = self._alone.setdefault(key, asyncio.Lock())
        async with lock:
            yield

    async def find(self, tenant: str, key: str, *, within: timedelta) -> Kept | None:
        """A result that was made within this time before now."""
        present, c = now(), kept_results.c
        fresh = (c.made_at > present - within, c.expires_at > present)
        async with self._database.read() as connection:
            found = select(kept_results).where(c.key == key, c.tenant == tenant, *fresh)
            row = (await connection.execute(found)).one_or_none()
        if row is None:
            return None
        saved = Savings(results=1, usd=usd_from_nano(row.cost_nano), tokens=row.tokens)
        return Kept(value=json.loads(zlib.decompress(row.body)), saved=saved)

    async def keep(
        self,
        connection: AsyncConnection,
        tenant: str,
        key: str,
        value: Mapping[str, Any],
        *,
        lasts: timedelta,
        cost_nano: int,
        tokens: int = 0,
    ) -> None:
        """Keeps a result within the caller's transaction, in place of an older one; nothing where it is too large."""
        body = zlib.compress(json.dumps(value).encode())
        if len(body) > LARGEST:
            return
        present = now()
        row = {
            "key": key,
            "tenant": tenant,
            "body": body,
            "size": len(body),
            "cost_nano": cost_nano,
            "tokens": tokens,
            "made_at": present,
            "expires_at": present + lasts,
        }
        newer = {name: given for name, given in row.items() if name != "key"}
        insert = self._database.insert(kept_results).on_conflict_do_update(index_elements=["key"], set_=newer)
        await connection.execute(insert, row)

    async def prune(self, *, at_most: int) -> int:
        """Takes away what has expired, and beyond `at_most` bytes of bodies what is oldest; how many went."""
        c = kept_results.c
        newer = func.sum(c.size).over(order_by=(c.made_at.desc(), c.key))
        sizes = select(c.key, newer.label("with_newer")).subquery()
        too_old = select(sizes.c.key).where(sizes.c.with_newer > at_most)
        async with self._database.begin(writes_first=True) as connection:
            gone = await connection.execute(delete(kept_results).where(or_(c.expires_at <= now(), c.key.in_(too_old))))
        return gone.rowcount


def pruning(database: Database, *, at_most: int, every: timedelta = EVERY) -> AbstractAsyncContextManager[None]:
    """Prunes from time to time while the body runs."""
    kept = KeptResults(database)

    async def prune() -> None:
        await kept.prune(at_most=at_most)

    return repeating("prune the kept results", prune, every=every)
