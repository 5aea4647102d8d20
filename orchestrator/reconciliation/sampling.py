"""Snapshots of engines' counters, kept in the table `engine_counters`."""

from dataclasses import fields, replace
from typing import Any

import httpx
from sqlalchemy import insert, select

from orchestrator.database import Database
from orchestrator.database.tables import engine_counters
from orchestrator.engine.counters import EngineCounters, read_counters

__all__ = ["Sampler"]

_COUNTED = ("requests", "aborted", "prompt_tokens", "cached_tokens", "output_tokens", "retracted_tokens", "idle_us")


class Sampler:
    """Writes down what one server has counted, each time that it is asked to.

    Every half minute and at the begin and end of a worker is enough: what is between two snapshots is compared as one.
    """

    def __init__(self, database: Database, http: httpx.AsyncClient, *, server: str, pool: str) -> None:
        """Reads and writes nothing yet.

        Args:
            server: its URL, as the ledger names it.
        """
        self._database = database
        self._http = http
        self._server = server.rstrip("/")
        self._pool = pool

    async def sample(self) -> EngineCounters:
        """What the server has counted, as it was written down.

        Raises:
            EngineError: it doesn't answer.
            ConfigurationError: it exposes no metrics.
        """
        counters = await read_counters(self._http, self._server)
        last = select(engine_counters).where(engine_counters.c.server == self._server)
        async with self._database.begin() as connection:
            before = (await connection.execute(last.order_by(engine_counters.c.at_us.desc()).limit(1))).first()
            if counters.boot is None:
                counters = replace(counters, boot=_boot(before, counters))
            if before is not None and counters.at_us == before.at_us:
                counters = replace(counters, at_us=before.at_us + 1)
            values = {field.name: getattr(counters, field.name) for field in fields(counters)}
            await connection.execute(insert(engine_counters), {**values, "pool": self._pool})
        return counters


def _boot(before: Any, counters: EngineCounters) -> str:
    """That of the snapshot before, unless a counter fell: then the server began anew."""
    if before is None:
        return f"since {counters.at_us}"
    for name in _COUNTED:
        was, is_ = getattr(before, name), getattr(counters, name)
        if was is not None and (is_ is None or is_ < was):
            return f"since {counters.at_us}"
    return before.boot
