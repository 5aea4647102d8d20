"""What a call probably took of its engine's GPUs, said when it settles: its window becomes final minutes later."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from orchestrator.attribution.work import ASSUMED, Weights
from orchestrator.database import Database
from orchestrator.database.tables import engine_windows
from orchestrator.usage import EngineMoments, Usage

__all__ = ["Provisional"]


class Provisional:
    """Provisional GPU time of one server's calls, by what its last final window learned."""

    def __init__(self, server: str, *, gpus: int = 1) -> None:
        """Knows nothing yet.

        Args:
            server: its URL, as the ledger names it.
            gpus: that it has.
        """
        self._server = server
        self._gpus = gpus
        self._weights: Weights | None = None
        self._batch = 1.0
        self._ratio = 1.0

    async def refresh(self, database: Database) -> None:
        """Takes over the weights of the last final window in which a call was active. Once a minute is enough."""
        query = (
            select(engine_windows)
            .where(
                engine_windows.c.server == self._server,
                engine_windows.c.final.is_(True),
                engine_windows.c.attributed_us > 0,
            )
            .order_by(engine_windows.c.started_us.desc())
            .limit(1)
        )
        async with database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is not None:
            self._learn(row.weights, row.attributed_us)

    def _learn(self, told: Mapping[str, Any], attributed: int) -> None:
        if told["work"] > 0:
            self._weights, self._batch = Weights.load(told), max(1.0, told["batch"])
            self._ratio = attributed / told["work"]

    def bound(self, usage: Usage) -> int:
        """Microseconds, times the GPUs, that a call of at most these tokens may take: by estimate, and alone."""
        weights = ASSUMED if self._weights is None else self._weights
        prompt, output = usage.prompt or 0, usage.output or 0
        return round(weights.work(uncached=prompt, prompt=prompt, output=output)) * self._gpus

    def provisional(self, usage: Usage, moments: EngineMoments) -> int | None:
        """Microseconds, times the GPUs; `None` where the engine gave no times.

        At most the time that the call was in the engine; that itself, until the first window is final.
        """
        if moments.entered is None or moments.finished is None:
            return None
        span = max(0, moments.finished - moments.entered) * self._gpus
        if self._weights is None or usage.uncached is None:
            return span
        work = self._weights.work(
            uncached=usage.uncached, prompt=usage.prompt or 0, output=usage.output or 0, batch=self._batch
        )
        return min(span, round(work * self._ratio))
