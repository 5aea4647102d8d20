"""Price books: effective-dated rows of unit prices, written once and never changed.

Of the rows of one book, model and pool, the one with the latest start is in force. A row without an end is succeeded by
a row with a later start, and is in force again once that one has ended; a row with an end of its own is overlapped by
none, so that no day has two prices. What was charged keeps its unit prices, whatever is written here later.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator
from sqlalchemy import or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.database import Database, now
from orchestrator.database.tables import prices
from orchestrator.errors import PricesRefused, UnknownName
from orchestrator.ledger.exact import MAX_PRICE_NANO
from orchestrator.ledger.prices import DEFAULT_BOOK
from orchestrator.usage import Usd, usd_from_nano

__all__ = ["ANY", "Added", "NewPrice", "PriceRow", "add_prices", "books", "prices_of"]

ANY = "*"
"""Stands for every model, or every pool."""
JUST_NOW = timedelta(minutes=1)
"""A row with a start before this is dated in the past."""


def _utc(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value


Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, pattern=r"^[^\x00-\x1f]+$")]
ShortName = Annotated[Name, StringConstraints(max_length=64)]
LongName = Annotated[Name, StringConstraints(max_length=255)]
UnitPrice = Annotated[
    Decimal,
    Field(ge=0, le=usd_from_nano(MAX_PRICE_NANO), decimal_places=9, max_digits=18, allow_inf_nan=False),
]
When = Annotated[AwareDatetime, BeforeValidator(_utc)]


class NewPrice(BaseModel):
    """A row that is to be written: prices of tokens, or of a GPU-hour. In US dollars."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    book: ShortName = DEFAULT_BOOK
    model: LongName
    """`*` for any."""
    pool: ShortName = ANY
    input: UnitPrice | None = None
    """For a million uncached prompt tokens."""
    cached: UnitPrice | None = None
    """For a million prompt tokens from the prefix cache; the same as `input` where there is no discount."""
    output: UnitPrice | None = None
    gpu_hour: UnitPrice | None = None
    """Then tokens have no price of their own."""
    valid_from: When
    valid_until: When | None = None
    """The first moment that the row isn't valid any more; `None` where the end is open."""
    source: LongName = "typed in"

    @model_validator(mode="after")
    def _complete(self) -> "NewPrice":
        tokens = {"input": self.input, "cached": self.cached, "output": self.output}
        missing = [name for name, price in tokens.items() if price is None]
        if self.gpu_hour is not None and len(missing) < len(tokens):
            raise ValueError("it prices tokens and the GPU-hour: a row prices one, or calls would be paid twice")
        if self.gpu_hour is None and missing:
            raise ValueError(
                f"{' and '.join(missing)} missing: a row has input, cached and output, or gpu_hour; "
                "where cached tokens have no discount, cached is the same as input, and what is free is 0"
            )
        if self.valid_until is not None and self.valid_until <= self.valid_from:
            raise ValueError(f"until ({_shown(self.valid_until)}) is not after from ({_shown(self.valid_from)})")
        return self

    @property
    def key(self) -> tuple[str, str, str]:
        """Rows with the same one succeed each other."""
        return self.book, self.model, self.pool


class PriceRow(BaseModel):
    """A row of a price book, in US dollars."""

    model_config = ConfigDict(frozen=True)

    id: int
    book: str
    model: str
    pool: str
    input: Usd | None
    cached: Usd | None
    output: Usd | None
    gpu_hour: Usd | None
    valid_from: datetime
    valid_until: datetime | None
    source: str
    created_at: datetime


class Added(BaseModel):
    """Rows that were written, and what somebody who wrote them should know."""

    model_config = ConfigDict(frozen=True)

    rows: Sequence[PriceRow]
    notices: Sequence[str]


async def add_prices(database: Database, new: Sequence[NewPrice], *, what: str) -> Added:
    """Writes rows, all or none.

    Args:
        what: names them in an error.

    Raises:
        PricesRefused: one has the start of another row of the same book, model and pool, or one of two that overlap
            has an end of its own.
    """
    if not new:
        raise PricesRefused(what, ["there is no row in it"])
    async with database.begin() as connection:
        if database.dialect == "postgresql":  # so that two writers can't miss each other's rows
            await connection.execute(text("LOCK TABLE prices IN SHARE ROW EXCLUSIVE MODE"))
        there = await _same_keys(connection, new)
        problems, notices = _placed(new, there)
        if problems:
            raise PricesRefused(what, problems)
        created_at = now()
        rows: list[PriceRow] = []
        for price in new:
            written = await connection.execute(prices.insert().values(_columns(price, created_at)).returning(prices))
            rows.append(_row(written.one()))
    if any(price.valid_from < created_at - JUST_NOW for price in new):
        notices.append(
            "charges that were made already keep the unit prices they were made at; "
            "'orchestrator cost --book' says what a past period costs by a book"
        )
    return Added(rows=rows, notices=notices)


async def prices_of(
    database: Database, *, book: str | None = None, at: datetime | None = None, every: bool = False
) -> Sequence[PriceRow]:
    """The rows in force at a moment, the present by default; `every` row, past and future ones too, if asked.

    Raises:
        UnknownName: there is no such book.
    """
    at = at or now()
    query = select(prices).order_by(prices.c.book, prices.c.model, prices.c.pool, prices.c.valid_from)
    if book is not None:
        query = query.where(prices.c.book == book)
    if not every:
        query = query.where(prices.c.valid_from <= at, or_(prices.c.valid_until.is_(None), prices.c.valid_until > at))
    async with database.read() as connection:
        rows = [_row(row) for row in await connection.execute(query)]
        if book is not None and not rows and book not in (known := await books(connection)):
            raise UnknownName("price book", book, known)
    if every:
        return rows
    return list({(row.book, row.model, row.pool): row for row in rows}.values())  # the latest start of each


async def books(connection: AsyncConnection) -> Sequence[str]:
    """Names of the books that there are."""
    return list((await connection.execute(select(prices.c.book).distinct().order_by(prices.c.book))).scalars())


async def _same_keys(connection: AsyncConnection, new: Iterable[NewPrice]) -> Sequence[NewPrice]:
    wanted = {price.key for price in new}
    query = select(prices).where(
        prices.c.book.in_({key[0] for key in wanted}), prices.c.model.in_({key[1] for key in wanted})
    )
    rows = [_row(row) for row in await connection.execute(query)]
    kept = [NewPrice.model_construct(**row.model_dump(exclude={"id", "created_at"})) for row in rows]
    return [price for price in kept if price.key in wanted]


def _placed(new: Sequence[NewPrice], there: Sequence[NewPrice]) -> tuple[list[str], list[str]]:
    """Why rows can't stand beside each other and beside those that are there, and what they do to them."""
    problems: list[str] = []
    notices: list[str] = []
    standing: dict[tuple[str, str, str], list[tuple[str, NewPrice]]] = defaultdict(list)
    for price in there:
        standing[price.key].append(("the row", price))
    for number, price in enumerate(new, start=1):
        label = f"row {number} " if len(new) > 1 else ""
        for whose, other in standing[price.key]:
            problem, notice = _beside(price, other, whose)
            if problem:
                problems.append(f"{label}{_called(price)}: {problem}")
            if notice:
                notices.append(f"{_called(price)}: {notice}")
        standing[price.key].append((f"row {number}", price))
    return problems, notices


def _beside(price: NewPrice, other: NewPrice, whose: str) -> tuple[str | None, str | None]:
    """The problem, or else the notice, of a row beside another one with the same book, model and pool."""
    named = f"{whose} that begins on {_shown(other.valid_from)}"
    if price.valid_from == other.valid_from:
        return f"{named} has the same start. Rows are never changed: choose another start", None
    first, second = sorted((price, other), key=lambda row: row.valid_from)
    if first.valid_until is not None:
        if first.valid_until <= second.valid_from:
            return None, None
        return (
            f"it overlaps {named} and ends on {_shown(other.valid_until)}"
            if first is other
            else f"it ends on {_shown(first.valid_until)}, after the start of {named}"
        ) + ". Only a row without an end is succeeded by one with a later start", None
    again = "" if second.valid_until is None else f", until {_shown(second.valid_until)}"
    if first is other:
        return None, f"{named} has no end; this one succeeds it on {_shown(second.valid_from)}{again}"
    return None, f"{named} succeeds this one, which has no end{again}"


def _called(price: NewPrice) -> str:
    return f"{price.model} in pool {price.pool} of book {price.book}"


def _shown(at: datetime | None) -> str:
    if at is None:
        return "no day"
    at = at.astimezone(UTC)
    return f"{at:%Y-%m-%d}" if at.time().isoformat() == "00:00:00" else f"{at:%Y-%m-%dT%H:%M:%SZ}"


def _columns(price: NewPrice, created_at: datetime) -> dict[str, Any]:
    return {
        "book": price.book,
        "model": price.model,
        "pool": price.pool,
        "input_price": _nano(price.input),
        "cached_price": _nano(price.cached),
        "output_price": _nano(price.output),
        "gpu_price": _nano(price.gpu_hour),
        "valid_from": price.valid_from.astimezone(UTC),
        "valid_until": price.valid_until and price.valid_until.astimezone(UTC),
        "source": price.source,
        "created_at": created_at,
    }


def _row(row: Any) -> PriceRow:
    return PriceRow(
        id=row.id,
        book=row.book,
        model=row.model,
        pool=row.pool,
        input=_usd(row.input_price),
        cached=_usd(row.cached_price),
        output=_usd(row.output_price),
        gpu_hour=_usd(row.gpu_price),
        valid_from=row.valid_from,
        valid_until=row.valid_until,
        source=row.source,
        created_at=row.created_at,
    )


def _nano(usd: Decimal | None) -> int | None:
    return None if usd is None else int(usd.scaleb(9))


def _usd(nano: int | None) -> Decimal | None:
    return None if nano is None else usd_from_nano(nano)
