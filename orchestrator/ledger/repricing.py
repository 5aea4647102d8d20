"""What past calls would have cost by another price book. No row of the ledger is touched.

A call is priced by the row of the book that was in force when it was reserved, as `PriceBook` finds it, and rounded as
`Price.cost` rounds. A correction costs the difference that it makes to its call, as it did when it was written, so that
the ledger's own prices give the ledger's own totals, to the nano-dollar. Tools, retrieval and what kept results
answered are in no book: they keep what they cost. A call without a price in the book is never free: it is left out,
counted and named.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    String,
    Subquery,
    and_,
    case,
    cast,
    column,
    exists,
    func,
    or_,
    select,
    values,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.database.tables import charges, engine_windows, prices
from orchestrator.errors import UnknownName
from orchestrator.ledger.exact import gpu_cost, known, token_cost
from orchestrator.ledger.pricebooks import ANY, books
from orchestrator.ledger.rows import CALL, from_cache, same_call
from orchestrator.ledger.timeframes import unix_us
from orchestrator.steps import GENERATE

__all__ = [
    "Segment",
    "corrections",
    "first_entries",
    "read_segments",
    "read_window_segments",
    "segment_table",
    "timeline",
]

Rank = Callable[[Any], tuple[bool, bool]]
"""Orders rows of a price book; the least is in force."""

END = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A time in which one row of a book prices a model in a pool."""

    model: str
    pool: str
    begin: datetime
    end: datetime
    row: Any


def timeline(rows: Sequence[Any], model: str, pool: str) -> Sequence[Segment]:
    """Which row is in force when, for a model in a pool: one that names both before one that names the model, and that
    before one that names the pool; of equals, the one with the latest start."""
    fitting = [row for row in rows if row.model in (model, ANY) and row.pool in (pool, ANY)]

    def rank(row: Any) -> tuple[bool, bool]:
        return row.model == ANY, row.pool == ANY

    return _segments(fitting, model, pool, rank)


def _segments(fitting: Sequence[Any], model: str, pool: str, rank: Rank) -> Sequence[Segment]:
    ends = {row.valid_until or END for row in fitting}
    moments = sorted({row.valid_from for row in fitting} | ends)
    found: list[Segment] = []
    for begin, end in pairwise(moments):
        valid = [row for row in fitting if row.valid_from <= begin < (row.valid_until or END)]
        if not valid:
            continue
        latest = sorted(valid, key=lambda row: row.valid_from, reverse=True)
        best = min(latest, key=rank)  # the first of equals, that is the latest
        if found and found[-1].row.id == best.id and found[-1].end == begin:
            found[-1] = Segment(model=model, pool=pool, begin=found[-1].begin, end=end, row=best)
        else:
            found.append(Segment(model=model, pool=pool, begin=begin, end=end, row=best))
    return found


async def read_segments(connection: AsyncConnection, book: str) -> Sequence[Segment]:
    """The book's prices of all models and pools that were ever called.

    Raises:
        UnknownName: there is no such book.
    """
    rows = await _rows(connection, book)
    query = select(charges.c.name, charges.c.pool).where(charges.c.kind == GENERATE).distinct()
    called = (await connection.execute(query)).all()
    return [segment for name, pool in called for segment in timeline(rows, name, pool or "")]


async def read_window_segments(connection: AsyncConnection, book: str) -> Sequence[Segment]:
    """The book's GPU-hour prices of all pools that have GPUs: of a row for any model, else of any model's row.

    What idles belongs to no call and no model. In a book that prices a pool by tokens alone, idling costs nothing.
    """

    def rank(row: Any) -> tuple[bool, bool]:
        return row.model != ANY, row.pool == ANY

    rows = [row for row in await _rows(connection, book) if row.gpu_price is not None]
    pools = (await connection.execute(select(engine_windows.c.pool).distinct())).scalars().all()
    found: list[Segment] = []
    for pool in pools:
        fitting = [row for row in rows if row.pool in (pool, ANY)]
        found += _segments(fitting, ANY, pool, rank)
    return found


async def _rows(connection: AsyncConnection, book: str) -> Sequence[Any]:
    rows = (await connection.execute(select(prices).where(prices.c.book == book))).all()
    if not rows:
        raise UnknownName("price book", book, await books(connection))
    return rows


def segment_table(segments: Sequence[Segment]) -> CTE:
    """Segments as a table in a query."""
    at = charges.c.reserved_at.type
    columns = [
        column("model", String), column("pool", String), column("begin_at", at), column("end_at", at),
        *(
            column(name, BigInteger)
            for name in ("begin_us", "end_us", "input_price", "cached_price", "output_price", "gpu_price")
        ),
    ]  # fmt: skip
    lines = [
        (
            each.model, each.pool, each.begin, each.end, unix_us(each.begin), unix_us(each.end),
            each.row.input_price or 0, each.row.cached_price or 0, each.row.output_price or 0, each.row.gpu_price or 0,
        )
        for each in segments
    ]  # fmt: skip
    nothing = ("", "", END, END, 0, 0, 0, 0, 0, 0)  # since a table of values can't be empty
    return values(*columns, name="segment").data(lines or [nothing]).cte("segment")


_USED = ("prompt_tokens", "cached_tokens", "output_tokens", "gpu_us")
_KEPT = (
    *CALL, "entry", "root", "tenant", "kind", "name", "pool", "outcome", "estimated", "reserved_at", "settled_at",
    *_USED, "reasoning_tokens", "price_source", "saved_nano", "saved_tokens",
)  # fmt: skip


def first_entries(segments: Sequence[Segment]) -> Subquery:
    """Rows as they were settled, with what they would have cost by these prices.

    A column `is_unpriced` says where there is no price for the call, or no GPU time to apply it to.
    """
    table, here = segment_table(segments), charges.c
    used = [known(here[name]) for name in _USED]
    query = select(*_columns(here, table, cost=_cost(used, table))).outerjoin(table, _fits(here, table))
    return query.where(here.entry == 0, here.outcome.is_not(None)).subquery("priced")


def corrections(segments: Sequence[Segment]) -> Subquery:
    """Corrections, each for the difference between its call's cost with it and without it.

    Apart from the first entries, since these are many and PostgreSQL can add them up in parallel.
    """
    table = segment_table(segments)
    later = charges.alias("later")
    corrected = exists().where(later.c.entry > 0, same_call(later.c, charges.c))
    call = [charges.c[part] for part in CALL]
    so_far = {
        name: func.sum(known(charges.c[name])).over(partition_by=call, order_by=charges.c.entry, rows=(None, 0))
        for name in _USED
    }
    rows = (
        select(
            *(charges.c[name] for name in (*_KEPT, "cost_nano")),
            *(cast(total, BigInteger).label(f"{name}_so_far") for name, total in so_far.items()),
        )
        .where(corrected, charges.c.outcome.is_not(None))
        .subquery("corrected")
    )
    here = rows.c
    after = [here[f"{name}_so_far"] for name in _USED]
    before = [total - known(here[name]) for name, total in zip(_USED, after, strict=True)]
    query = select(*_columns(here, table, cost=_cost(after, table) - _cost(before, table)))
    return query.outerjoin(table, _fits(here, table)).where(here.entry > 0).subquery("priced_corrections")


def _columns(here: Any, table: CTE, *, cost: Any) -> list[Any]:
    in_book = and_(here.kind == GENERATE, ~from_cache(here))
    later = charges.alias("measured")
    measured = exists().where(later.c.gpu_us.is_not(None), same_call(later.c, here))
    worked = known(here.prompt_tokens) + known(here.output_tokens) > 0
    unmeasured = and_(table.c.gpu_price > 0, here.gpu_us.is_(None), worked, ~measured)
    return [
        *(here[name] for name in _KEPT),
        case((~in_book, here.cost_nano), (table.c.model.is_(None), 0), else_=cost).label("cost_nano"),
        and_(in_book, or_(table.c.model.is_(None), unmeasured)).label("is_unpriced"),
        *(known(table.c[name]).label(name) for name in ("input_price", "cached_price", "gpu_price")),
    ]


def _fits(here: Any, table: CTE) -> Any:
    return and_(
        here.kind == GENERATE,
        here.name == table.c.model,
        func.coalesce(here.pool, "") == table.c.pool,
        here.reserved_at >= table.c.begin_at,
        here.reserved_at < table.c.end_at,
    )


def _cost(used: Sequence[Any], table: CTE) -> Any:
    prompt, cached, output, gpu_us = used
    return case(
        (table.c.gpu_price > 0, gpu_cost(gpu_us, table.c.gpu_price)), else_=token_cost(prompt, cached, output, table.c)
    )
