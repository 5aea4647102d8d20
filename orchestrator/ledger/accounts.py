"""Accounts: what a run or a tenant may spend, what it has reserved, and what it has spent.

Every run has one. A tenant has one for each period that it is limited in. A reservation must fit into the accounts of
its run, of the runs above it and of its tenant; all of them move in the transaction that writes the row, and are locked
in one order, so that no two steps pass the same check and no two wait for one another.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    Update,
    and_,
    bindparam,
    case,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.budget import Allowance
from orchestrator.database import Database, now
from orchestrator.database.tables import accounts, charges, runs, top_ups
from orchestrator.errors import BudgetExceeded
from orchestrator.ledger.rows import engine_call
from orchestrator.steps import GENERATE, RunScope, TopUp
from orchestrator.usage import usd_from_nano

__all__ = [
    "NOTHING",
    "Account",
    "Bound",
    "Period",
    "accounts_above",
    "admit",
    "bound_of",
    "clear_limit",
    "lineage_of",
    "move",
    "open_account",
    "set_limit",
    "tenant_accounts",
    "tenant_limits",
    "top_up",
]

Period = Literal["day", "month"]
"""Of a tenant's limit; both begin at midnight, UTC."""

PERIODS: tuple[Period, ...] = ("day", "month")

PPM = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Bound:
    """The most that an attempt may use, and what that costs."""

    tokens: int = 0
    nano: int = 0
    gpu_us: int = 0
    """By estimate."""
    calls: int = 0
    """1 for an engine call."""


NOTHING = Bound()


@dataclass(frozen=True, kw_only=True)
class Account:
    """A tenant's limit, and how far it is used up."""

    tenant: str
    period: Period
    limit: Allowance
    spent: Bound
    reserved: Bound


def bound_of(row: Any) -> Bound:
    """What a row has reserved."""
    return Bound(
        tokens=row.reserved_tokens,
        nano=row.reserved_nano,
        gpu_us=row.reserved_gpu_us,
        calls=int(row.kind == GENERATE),
    )


def accounts_above(scope: RunScope) -> tuple[str, ...]:
    """Ids of the accounts that a run's charges count against; its own first."""
    return (*(run.run for run in scope.lineage), *tenant_accounts(scope.tenant))


def tenant_accounts(tenant: str) -> tuple[str, ...]:
    """Ids of the accounts that a tenant has where it is limited."""
    return tuple(f"tenant:{tenant}:{period}" for period in PERIODS)


def period_start(period: Period, moment: datetime) -> datetime:
    """Midnight, UTC, that a moment's day or month began at."""
    start = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return start if period == "day" else start.replace(day=1)


def _locked() -> Select[tuple[str]]:
    """The accounts of a movement, locked in the order of their ids."""
    named = accounts.c.id.in_(bindparam("ids", expanding=True))
    return select(accounts.c.id).where(named).order_by(accounts.c.id).with_for_update()


_day: BindParameter[datetime] = bindparam("day", type_=accounts.c.period_start.type)
_month: BindParameter[datetime] = bindparam("month", type_=accounts.c.period_start.type)
_new_period: ColumnElement[bool] = or_(
    and_(accounts.c.period == "day", accounts.c.period_start < _day),
    and_(accounts.c.period == "month", accounts.c.period_start < _month),
)


def _moved() -> Update:
    """Adds what is bound to each account; what was spent in a period that is over counts no more."""
    columns: dict[str, Any] = {
        name: case((_new_period, 0), else_=accounts.c[name]) + bindparam(f"plus_{name}")
        for name in ("spent_nano", "spent_tokens", "spent_gpu_us", "calls")
    }
    for name in ("reserved_nano", "reserved_tokens", "reserved_gpu_us"):
        columns[name] = accounts.c[name] + bindparam(f"plus_{name}")
    columns["period_start"] = case(
        (and_(_new_period, accounts.c.period == "day"), _day),
        (and_(_new_period, accounts.c.period == "month"), _month),
        else_=accounts.c.period_start,
    )
    return update(accounts).where(accounts.c.id.in_(_locked().scalar_subquery())).values(columns)


_MOVE = _moved().returning(accounts.c.id, accounts.c.sealed)
_ADMIT = _moved().returning(accounts)


def _parameters(
    ids: Iterable[str], *, spent: Bound = NOTHING, reserved: Bound = NOTHING, calls: int = 0
) -> dict[str, Any]:
    present = now()
    return {
        "ids": list(ids),
        "day": period_start("day", present),
        "month": period_start("month", present),
        "plus_spent_nano": spent.nano,
        "plus_spent_tokens": spent.tokens,
        "plus_spent_gpu_us": spent.gpu_us,
        "plus_calls": calls,
        "plus_reserved_nano": reserved.nano,
        "plus_reserved_tokens": reserved.tokens,
        "plus_reserved_gpu_us": reserved.gpu_us,
    }


async def open_account(connection: AsyncConnection, database: Database, scope: RunScope) -> None:
    """Makes a run's account, if there is none."""
    budget = scope.budget
    row = {
        "id": scope.run,
        "tenant": scope.tenant,
        "limit_nano": budget.nano_usd if budget else None,
        "limit_tokens": budget.tokens if budget else None,
        "limit_gpu_us": budget.gpu_us if budget else None,
        "limit_calls": budget.calls if budget else None,
        "kept_ppm": budget.kept_ppm if budget else 0,
        "sealed": False,
        **_ZERO,
    }
    await connection.execute(database.insert(accounts).on_conflict_do_nothing(), row)


_ZERO: Mapping[str, int] = dict.fromkeys(
    (
        "reserved_nano", "reserved_tokens", "reserved_gpu_us", "spent_nano", "spent_tokens", "spent_gpu_us", "calls",
    ),
    0,
)  # fmt: skip


async def admit(connection: AsyncConnection, scope: RunScope, bound: Bound, *, closing: bool) -> None:
    """Reserves a bound in every account that it counts against. The caller's transaction must end where this raises.

    Args:
        closing: whether it may draw on what is kept for the answer.

    Raises:
        BudgetExceeded: it doesn't fit into one of them.
    """
    moved = await connection.execute(_ADMIT, _parameters(accounts_above(scope), reserved=bound, calls=bound.calls))
    rows = moved.all()
    for row in rows:
        for limit in _LIMITS:
            if limit.is_passed(row, bound, closing=closing):
                raise limit.refusal(row, rows, scope, bound, closing=closing)


async def move(connection: AsyncConnection, ids: Sequence[str], *, spent: Bound, released: Bound = NOTHING) -> bool:
    """Adds to what accounts have spent, and takes back what was reserved. Of what is spent, a part may be negative.

    Returns:
        Whether the first account's run has ended, so that its charges must be sealed again.
    """
    released = Bound(tokens=-released.tokens, nano=-released.nano, gpu_us=-released.gpu_us)
    moved = await connection.execute(_MOVE, _parameters(ids, spent=spent, reserved=released))
    return any(row.sealed and row.id == ids[0] for row in moved.all())


async def lineage_of(connection: AsyncConnection, run: str, tenant: str) -> tuple[str, ...]:
    """Ids of the accounts that a run's charges count against, by what the ledger knows of it; its own first."""
    above = select(runs.c.parent).where(runs.c.id == run, runs.c.parent.is_not(None)).cte(recursive=True)
    higher = select(runs.c.parent).where(runs.c.id == above.c.parent, runs.c.parent.is_not(None))
    ids = (await connection.execute(select(above.union_all(higher).c.parent))).scalars()
    return (run, *ids, *tenant_accounts(tenant))


async def top_up(connection: AsyncConnection, database: Database, account: str, key: str, amount: TopUp) -> None:
    """Raises the limits that an account has by an amount, once for each key."""
    added = {
        "nano": amount.nano_usd or 0,
        "tokens": amount.tokens or 0,
        "gpu_us": amount.gpu_us or 0,
        "calls": amount.calls or 0,
    }
    row = {"account": account, "key": key, "at": now(), **added}
    inserted = await connection.execute(database.insert(top_ups).on_conflict_do_nothing(), row)
    if inserted.rowcount:
        raised = {f"limit_{name}": accounts.c[f"limit_{name}"] + plus for name, plus in added.items()}
        await connection.execute(update(accounts).where(accounts.c.id == account).values(raised))


async def set_limit(database: Database, tenant: str, period: Period, limit: Allowance) -> None:
    """Limits what a tenant may spend in a day or a month, from now on; what the present one has seen counts already."""
    account = f"tenant:{tenant}:{period}"
    start = period_start(period, now())
    limits = {
        "limit_nano": limit.nano_usd,
        "limit_tokens": limit.tokens,
        "limit_gpu_us": limit.gpu_us,
        "limit_calls": limit.calls,
    }
    async with database.begin() as connection:
        if database.dialect == "postgresql":
            # Nobody reserves or settles between the sum and the account that starts from it.
            await connection.exec_driver_sql("LOCK TABLE charges IN SHARE ROW EXCLUSIVE MODE")
        known = await connection.execute(update(accounts).where(accounts.c.id == account).values(limits))
        if known.rowcount:
            return
        row = {"id": account, "tenant": tenant, "period": period, "period_start": start, "kept_ppm": 0, "sealed": False}
        row |= limits | await _opening(connection, tenant, start)
        await connection.execute(database.insert(accounts), row)


async def _opening(connection: AsyncConnection, tenant: str, start: datetime) -> dict[str, int]:
    def total(column: ColumnElement[Any], *where: ColumnElement[bool]) -> ColumnElement[int]:
        return func.coalesce(func.sum(case((and_(*where), column), else_=0)), 0)

    settled, is_open = charges.c.settled_at >= start, charges.c.outcome.is_(None)
    recent = charges.c.reserved_at >= start
    tokens = func.coalesce(charges.c.prompt_tokens, 0) + func.coalesce(charges.c.output_tokens, 0)
    sums = {
        "spent_nano": total(charges.c.cost_nano, settled),
        "spent_tokens": total(tokens, settled),
        "spent_gpu_us": total(func.coalesce(charges.c.gpu_us, 0), settled),
        "reserved_nano": total(charges.c.reserved_nano, is_open),
        "reserved_tokens": total(charges.c.reserved_tokens, is_open),
        "reserved_gpu_us": total(charges.c.reserved_gpu_us, is_open),
        "calls": func.count(case((and_(engine_call(charges.c), recent), 1))),
    }
    query = select(*(expression.label(name) for name, expression in sums.items())).where(
        charges.c.tenant == tenant, or_(settled, is_open)
    )
    row = (await connection.execute(query)).one()
    return {name: int(getattr(row, name)) for name in sums}


async def clear_limit(database: Database, tenant: str, period: Period) -> bool:
    """Takes a tenant's limit away; whether there was one."""
    async with database.begin() as connection:
        gone = await connection.execute(delete(accounts).where(accounts.c.id == f"tenant:{tenant}:{period}"))
        return bool(gone.rowcount)


async def tenant_limits(database: Database, tenant: str | None = None) -> Sequence[Account]:
    """The limits that tenants have, and what they have used of them in the present period."""
    query = select(accounts).where(accounts.c.period.is_not(None)).order_by(accounts.c.tenant, accounts.c.period)
    if tenant is not None:
        query = query.where(accounts.c.tenant == tenant)
    async with database.read() as connection:
        rows = (await connection.execute(query)).all()
    return [_account(row) for row in rows]


def _account(row: Any) -> Account:
    over = row.period_start < period_start(row.period, now())
    return Account(
        tenant=row.tenant,
        period=row.period,
        limit=Allowance(
            usd=None if row.limit_nano is None else usd_from_nano(row.limit_nano),
            tokens=row.limit_tokens,
            gpu_seconds=None if row.limit_gpu_us is None else _seconds(row.limit_gpu_us),
            calls=row.limit_calls,
        ),
        spent=NOTHING
        if over
        else Bound(tokens=row.spent_tokens, nano=row.spent_nano, gpu_us=row.spent_gpu_us, calls=row.calls),
        reserved=Bound(tokens=row.reserved_tokens, nano=row.reserved_nano, gpu_us=row.reserved_gpu_us),
    )


@dataclass(frozen=True, kw_only=True)
class _Limit:
    """One of the things that an account may limit."""

    name: str
    """As in `Budget`."""
    unit: str
    """As in the tables' columns and in `Bound`."""
    write: Callable[[int], str]

    def is_passed(self, row: Any, bound: Bound, *, closing: bool) -> bool:
        needed = getattr(bound, self.unit)
        return needed > 0 and (left := self.left(row, closing=closing)) is not None and left < 0

    def left(self, row: Any, *, closing: bool) -> int | None:
        """What an account still allows, what is reserved already taken off; `None` where it has no such limit."""
        limit = getattr(row, f"limit_{self.unit}")
        if limit is None:
            return None
        kept = 0 if closing else limit * row.kept_ppm // PPM
        return limit - kept - self.gone(row)

    def gone(self, row: Any) -> int:
        if self.unit == "calls":
            return row.calls
        return getattr(row, f"spent_{self.unit}") + getattr(row, f"reserved_{self.unit}")

    def refusal(self, row: Any, rows: Sequence[Any], scope: RunScope, bound: Bound, *, closing: bool) -> BudgetExceeded:
        needed = getattr(bound, self.unit)
        limit = getattr(row, f"limit_{self.unit}")
        kept = 0 if closing else limit * row.kept_ppm // PPM
        allowed = self.write(limit) + (f", {self.write(kept)} of it kept for the answer" if kept else "")
        return BudgetExceeded(
            self.name,
            whose=_whose(row, scope),
            allowed=allowed,
            spent=self.write(self.gone(row) - needed),
            needed=self.write(needed),
            account=row.id,
            left_nano=_least(rows, _USD, bound.nano, closing=closing),
            left_tokens=_least(rows, _TOKENS, bound.tokens, closing=closing),
        )


_USD = _Limit(name="usd", unit="nano", write=lambda nano: f"${usd_from_nano(nano):f}")
_TOKENS = _Limit(name="tokens", unit="tokens", write=lambda tokens: _count(tokens, "token"))
_LIMITS = (
    _USD,
    _TOKENS,
    _Limit(name="gpu_seconds", unit="gpu_us", write=lambda us: f"{_seconds(us):f} GPU-seconds"),
    _Limit(name="calls", unit="calls", write=lambda calls: _count(calls, "call")),
)


def _least(rows: Sequence[Any], limit: _Limit, bound: int, *, closing: bool) -> int | None:
    """The least that any of the accounts had left before the bound was added."""
    left = [left + bound for row in rows if (left := limit.left(row, closing=closing)) is not None]
    return min(left, default=None)


def _whose(row: Any, scope: RunScope) -> str:
    if row.period is not None:
        return f"the limit of tenant {row.tenant!r} for this {row.period}"
    return "the run's budget" if row.id == scope.run else "the budget of the run that started it"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _seconds(us: int) -> Decimal:
    return Decimal(us).scaleb(-6)
