"""Windows: a server's time, cut into pieces that are split between its calls once all is known of them.

Windows of one server become final in order, each in a transaction of its own. A window is final once every call that
was reserved before its end is settled; a settled call without engine times gets a share by its tokens, and the window
is marked `flat`. What becomes known only later changes no window: such a call gets no share, its time stays where it
went (idle, overhead or other calls), and its charge is corrected to that. So nothing is ever attributed twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from anyio import to_thread
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.attribution.estimator import Split, split
from orchestrator.attribution.observed import (
    Observed,
    last_sign,
    next_sign,
    observe,
    oldest_open,
    servers,
    snapshots,
)
from orchestrator.attribution.shares import correct_charges
from orchestrator.attribution.weights import Fit, Method
from orchestrator.attribution.work import Stages, stages_of
from orchestrator.database import Database, now
from orchestrator.database.tables import charges, engine_counters, engine_windows, gpu_shares, prices
from orchestrator.ledger.pricebooks import ANY
from orchestrator.ledger.prices import DEFAULT_BOOK
from orchestrator.ledger.repricing import timeline
from orchestrator.ledger.rows import CALL
from orchestrator.ledger.timeframes import at_unix_us, unix_us

__all__ = ["Advanced", "Attribution"]

FIRST_LOOK_BACK_US = 86_400_000_000
"""A day before its first window is made, a server may already have windows; older charges keep what they have."""
DEFAULT_POOL = "default"


@dataclass(frozen=True, kw_only=True)
class Advanced:
    """What became final."""

    windows: int = 0
    corrections: int = 0


@dataclass(frozen=True, kw_only=True)
class _Window:
    server: str
    start: int
    end: int

    @property
    def key(self) -> dict[str, Any]:
        return {"server": self.server, "started_us": self.start}


@dataclass(frozen=True, kw_only=True)
class _Computed:
    """A window, split."""

    window: _Window
    split: Split
    fit: Fit
    pool: str
    gpus: int
    gpu_price: int

    @property
    def method(self) -> Method:
        return "flat" if self.split.untimed else self.fit.method

    def row(self, *, final: bool) -> dict[str, Any]:
        told = {"work": self.split.work, "batch": self.split.batch, "untimed": self.split.untimed}
        return {
            **self.window.key,
            "pool": self.pool,
            "gpus": self.gpus,
            "gpu_price": self.gpu_price,
            "wall_us": self.split.wall,
            "attributed_us": self.split.attributed,
            "idle_us": self.split.idle,
            "overhead_us": self.split.overhead,
            "final": final,
            "method": self.method,
            "weights": {**self.fit.weights.dump(), **told, "fit": self.fit.dump()},
        }


class Attribution:
    """Makes windows final, and corrects the charges of their calls. Any number of processes may do so at once."""

    def __init__(
        self,
        database: Database,
        *,
        gpus: Mapping[str, int] | None = None,
        window: timedelta = timedelta(seconds=60),
        skew: timedelta = timedelta(seconds=5),
        patience: timedelta = timedelta(minutes=2),
        lapse: timedelta = timedelta(minutes=15),
        longest: timedelta = timedelta(hours=1),
    ) -> None:
        """Does nothing yet.

        Args:
            gpus: of each server of a pool; one, where it isn't said.
            window: length; windows begin at its multiples.
            skew: by how much the clocks of engines and workers may differ.
            patience: how long a window waits for a look at the counters after its end, where there were looks before.
            lapse: a server of which nothing is heard for longer was away, and that time has no windows.
            longest: no call lasts longer; one that does is found in its last part only.
        """
        self._database = database
        self._gpus = gpus or {}
        self._size, self._skew, self._patience, self._lapse, self._longest = (
            span // timedelta(microseconds=1) for span in (window, skew, patience, lapse, longest)
        )

    async def advance(self, now_us: int | None = None) -> Advanced:
        """Makes every window final that can be, and corrects the charges of calls that lie in final windows.

        Args:
            now_us: Unix time, the present by default.
        """
        present = unix_us(now()) if now_us is None else now_us
        windows, corrections = 0, 0
        for server in await self._servers():
            first = frontier = await self._frontier(server)
            while (window := await self._next(server, frontier, present)) is not None:
                if (computed := await self._final(window, present)) is None:
                    break
                windows += await self._write(computed, final=True)
                frontier = await self._frontier(server)
            if frontier is not None:
                since = (frontier if first is None else first) - self._longest
                corrections += await correct_charges(
                    self._database, server, since=since, until=frontier, longest=self._longest
                )
        return Advanced(windows=windows, corrections=corrections)

    async def preview(self, now_us: int | None = None) -> int:
        """Computes the windows that aren't final yet, up to now, as rows with `final` false; how many.

        They hold the calls that are settled so far, have no shares and correct nothing. The next preview computes them
        again, and a final window takes the place of its own.

        Args:
            now_us: Unix time, the present by default.
        """
        present = unix_us(now()) if now_us is None else now_us
        previewed = 0
        for server in await self._servers():
            frontier, fit = await self._frontier(server), None
            while (window := await self._next(server, frontier, present)) is not None:
                window = replace(window, end=min(window.end, present))
                async with self._database.snapshot() as connection:
                    looks = await snapshots(connection, server, window.start, window.end, self._lapse)
                    fit = fit or await _last_fit(connection, server)
                    computed = await self._split(connection, window, looks, fit)
                fit, frontier = computed.fit, window.end
                previewed += await self._write(computed, final=False)
        return previewed

    async def _servers(self) -> Sequence[str]:
        async with self._database.read() as connection:
            return await servers(connection, (charges, engine_counters, engine_windows))

    async def _frontier(self, server: str) -> int | None:
        """The end of the last final window."""
        query = (
            select(engine_windows)
            .where(engine_windows.c.server == server, engine_windows.c.final.is_(True))
            .order_by(engine_windows.c.started_us.desc())
            .limit(1)
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else row.started_us + row.wall_us // row.gpus

    async def _next(self, server: str, known: int | None, present: int) -> _Window | None:
        """The first window after a time in which the server was up, if it has begun."""
        moment = present - FIRST_LOOK_BACK_US if known is None else known
        async with self._database.read() as connection:
            coming = await next_sign(connection, server, moment, longest=self._longest)
            recent = None if known is None else await last_sign(connection, server, moment, lapse=self._lapse)
        if coming is None:
            return None
        if recent is None or coming - recent > self._lapse:
            moment = max(moment, coming - coming % self._size)
        end = moment - moment % self._size + self._size
        return _Window(server=server, start=moment, end=end) if moment < present else None

    async def _final(self, window: _Window, present: int) -> _Computed | None:
        """The window, split, if all is known that is needed for it."""
        if window.end + self._skew > present:
            return None
        async with self._database.snapshot() as connection:
            looks = await snapshots(connection, window.server, window.start, window.end, self._lapse)
            last_look = looks[-1].at_us if looks else window.end
            if last_look < window.end and present < window.end + self._patience:
                return None
            oldest = await oldest_open(connection, window.server)
            if oldest is not None and oldest - self._skew < max(window.end, last_look):
                return None
            return await self._split(connection, window, looks, await _last_fit(connection, window.server))

    async def _split(self, connection: AsyncConnection, window: _Window, looks: Sequence[Any], fit: Fit) -> _Computed:
        observed = await observe(
            connection, window.server, window.start, window.end, looks=looks, longest=self._longest
        )
        pool = observed.pool or DEFAULT_POOL
        gpus = self._gpus.get(pool, 1)
        fit, parts = await to_thread.run_sync(_work_out, window, observed, fit, gpus)
        price = await _gpu_price(connection, observed.model or ANY, pool, window.start)
        return _Computed(window=window, split=parts, fit=fit, pool=pool, gpus=gpus, gpu_price=price)

    async def _write(self, computed: _Computed, *, final: bool) -> int:
        """Writes a window unless another process did; how many were written."""
        window = computed.window
        place = engine_windows.c
        provisional = delete(engine_windows).where(
            place.server == window.server, place.started_us >= window.start, place.started_us < window.end,
            place.final.is_(False),
        )  # fmt: skip
        new = self._database.insert(engine_windows).on_conflict_do_nothing()
        async with self._database.begin() as connection:
            await connection.execute(provisional)
            if not (await connection.execute(new, computed.row(final=final))).rowcount:
                return 0
            shares = [
                {**window.key, **dict(zip(CALL, key, strict=True)), "gpu_us": share}
                for key, share in computed.split.shares.items()
                if share
            ]
            if final and shares:
                await connection.execute(insert(gpu_shares), shares)
        return 1


def _work_out(window: _Window, observed: Observed, fit: Fit, gpus: int) -> tuple[Fit, Split]:
    """The arithmetic of a window, which may take a second where a server is busy."""
    fit = fit.learn(_stages(observed, fit), start=window.start, end=window.end, moments=observed.moments)
    parts = split(
        _stages(observed, fit), start=window.start, end=window.end, gpus=gpus, weights=fit.weights,
        evidence=observed.evidence,
    )  # fmt: skip
    return fit, parts


def _stages(observed: Observed, fit: Fit) -> Sequence[Stages]:
    weights = fit.weights if fit.method == "fitted" else None
    return [stages for call in observed.calls if (stages := stages_of(call, weights)) is not None]


async def _last_fit(connection: AsyncConnection, server: str) -> Fit:
    """What was learned until the last final window."""
    query = (
        select(engine_windows.c.weights)
        .where(engine_windows.c.server == server, engine_windows.c.final.is_(True))
        .order_by(engine_windows.c.started_us.desc())
        .limit(1)
    )
    weights = (await connection.execute(query)).scalar_one_or_none()
    return Fit.load(weights and weights.get("fit"))


async def _gpu_price(connection: AsyncConnection, model: str, pool: str, at_us: int) -> int:
    """Nano-dollars for a GPU-hour by the price book; 0 where the pool is priced by tokens."""
    rows = (await connection.execute(select(prices).where(prices.c.book == DEFAULT_BOOK))).all()
    moment = at_unix_us(at_us)
    for segment in timeline(rows, model, pool):
        if segment.begin <= moment < segment.end:
            return segment.row.gpu_price or 0
    return 0
