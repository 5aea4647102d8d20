"""A database that an earlier version filled keeps every row and every total when it is upgraded."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import JSON, Boolean, Connection, DateTime, Table, bindparam, select, text
from sqlalchemy.types import TypeEngine

import orchestrator_migrations
from orchestrator.database import Database
from orchestrator.database.tables import accounts, charges, prices, runs
from orchestrator.ledger import BreakKind, CheckName, run_receipt, verify
from orchestrator.ledger.seals import seal
from orchestrator.usage import usd_from_nano

START = datetime(2026, 1, 1, 9, 30, 0, 123456, tzinfo=UTC)
TYPES: dict[str, TypeEngine[Any]] = {
    "started_at": DateTime(timezone=True),
    "closed_at": DateTime(timezone=True),
    "reserved_at": DateTime(timezone=True),
    "settled_at": DateTime(timezone=True),
    "valid_from": DateTime(timezone=True),
    "estimated": Boolean(),
    "result": JSON(none_as_null=True),
}
"""Of columns whose values drivers don't take as they are."""


def run(name: str, **more: Any) -> dict[str, Any]:
    row = {
        "id": name, "workflow_id": f"{name}-w", "workflow": "think", "tenant": "default", "status": "completed",
        "error": None, "started_at": START, "closed_at": START + timedelta(minutes=1), "limit_nano": None,
        "limit_tokens": None, "reserved_nano": 0, "reserved_tokens": 0, "spent_nano": 0, "spent_tokens": 0,
    }  # fmt: skip
    return row | more


def charge(run: str, step: int, attempt: int = 1, **more: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "workflow_id": f"{run}-w", "run_id": run, "activity_id": str(step), "attempt": attempt, "root": run,
        "kind": "generate", "name": "m", "rid": f"{run}{step}{attempt}", "server": "http://e", "outcome": "used",
        "reserved_nano": 900, "reserved_tokens": 90, "prompt_tokens": 30, "cached_tokens": 10, "output_tokens": 5,
        "reasoning_tokens": 2, "queue_us": 1, "prefill_us": 2, "decode_us": 3, "cost_nano": 80, "estimated": False,
        "input_price": 2_000_000, "cached_price": 0, "output_price": 8_000_000, "price_source": "prices:7",
        "result": {"text": "grün", "parts": [1, 2.5, None]}, "reserved_at": START,
        "settled_at": START + timedelta(seconds=1),
    }  # fmt: skip
    return row | more


UNKNOWN = dict.fromkeys(
    (
        "outcome", "prompt_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "queue_us", "prefill_us",
        "decode_us", "cost_nano", "result", "settled_at",
    )
)  # fmt: skip
RUNS = [
    run("done", spent_nano=165, spent_tokens=75, limit_nano=50_000_000, limit_tokens=60_000),
    run("lost", tenant="other", status="failed", error="KeyError: 'b'", spent_nano=80, spent_tokens=35),
    run("busy", status="running", closed_at=None, reserved_nano=900, reserved_tokens=90),
    run("idle", closed_at=None, status="running"),
]
CHARGES = [
    charge("done", 1, 1, outcome="retried", cached_tokens=None, output_tokens=None, reasoning_tokens=None,
           cost_nano=60, estimated=True, result=None),
    charge("done", 1, 2),
    charge("done", 2, kind="tool", name="search", rid=None, server=None, cost_nano=0, price_source="free",
           input_price=0, output_price=0, **dict.fromkeys(("prompt_tokens", "cached_tokens", "output_tokens",
           "reasoning_tokens"))),
    charge("done", 3, prompt_tokens=10, output_tokens=0, reasoning_tokens=0, cached_tokens=0, cost_nano=25,
           input_price=2_500_000),
    charge("lost", 1, outcome="failed"),
    charge("busy", 1, **UNKNOWN),
]  # fmt: skip
PRICES = [
    {"id": 7, "model": "m", "input_price": 1, "cached_price": 2, "output_price": 3, "valid_from": START},
    {"id": 9, "model": "*", "input_price": 4, "cached_price": 5, "output_price": 6, "valid_from": START},
]


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/old.db"
    return cast("str", request.getfixturevalue("empty_postgres_url"))


@pytest.fixture
async def upgraded(empty_url: str) -> AsyncIterator[Database]:
    """A database of the first schema with rows in it, upgraded."""
    async with Database.open(empty_url) as database:
        async with database.begin() as connection:
            await connection.run_sync(_fill)
        assert await orchestrator_migrations.version(database) == "0001"
        await orchestrator_migrations.upgrade(database)
        yield database


def _fill(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(orchestrator_migrations.__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, "0001")
    for table, rows in (("runs", RUNS), ("charges", CHARGES), ("prices", PRICES)):
        names = list(rows[0])
        insert = text(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})")
        insert = insert.bindparams(*(bindparam(name, type_=TYPES[name]) for name in names if name in TYPES))
        connection.execute(insert, rows)


async def rows_of(database: Database, table: Table) -> Sequence[dict[str, Any]]:
    async with database.read() as connection:
        return [dict(row) for row in (await connection.execute(select(table))).mappings()]


def by_key(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (row["run_id"], row["activity_id"], row["attempt"]))


async def test_the_schema_is_the_newest(upgraded: Database) -> None:
    assert await orchestrator_migrations.version(upgraded) == orchestrator_migrations.head()
    async with upgraded.read() as connection:
        names = await connection.run_sync(lambda sync: sync.dialect.get_table_names(sync))
    assert not [name for name in names if name.startswith(("old_", "_alembic"))]


async def test_every_charge_keeps_its_figures(upgraded: Database) -> None:
    tenants = {row["id"]: row["tenant"] for row in RUNS}
    added = {
        "call": 0, "entry": 0, "reason": None, "pool": None, "reserved_gpu_us": 0, "sent_tokens": None,
        "entered_us": None, "prefilled_us": None, "finished_us": None, "gpu_us": None, "gpu_price": 0, "call_price": 0,
        "seal": None, "deadline": None, "saved_nano": None, "saved_tokens": None,
    }  # fmt: skip
    expected = [row | added | {"run": row["root"], "tenant": tenants[row["root"]]} for row in CHARGES]
    assert by_key(await rows_of(upgraded, charges)) == by_key(expected)


async def test_every_run_is_its_own_root(upgraded: Database) -> None:
    kept = ("id", "workflow_id", "workflow", "tenant", "status", "error", "started_at", "closed_at")
    added = {"version": "1", "parent": None, "path": None, "passed": None}
    expected = {row["id"]: {name: row[name] for name in kept} | added | {"root": row["id"]} for row in RUNS}
    assert {row["id"]: row for row in await rows_of(upgraded, runs)} == expected


async def test_totals_and_limits_move_to_accounts(upgraded: Database) -> None:
    kept = ("limit_nano", "limit_tokens", "reserved_nano", "reserved_tokens", "spent_nano", "spent_tokens")
    found = {row["id"]: row for row in await rows_of(upgraded, accounts)}
    assert {name: {column: row[column] for column in kept} for name, row in found.items()} == {
        row["id"]: {column: row[column] for column in kept} for row in RUNS
    }
    assert {name: row["calls"] for name, row in found.items()} == {"done": 3, "lost": 1, "busy": 1, "idle": 0}
    assert {name: row["sealed"] for name, row in found.items()} == {
        "done": True, "lost": True, "busy": False, "idle": False,
    }  # fmt: skip
    assert {name: row["tenant"] for name, row in found.items()} == {row["id"]: row["tenant"] for row in RUNS}
    assert {
        (row["period"], row["limit_gpu_us"], row["limit_calls"], row["spent_gpu_us"]) for row in found.values()
    } == {(None, None, None, 0)}


async def test_prices_are_of_the_default_book_and_any_pool(upgraded: Database) -> None:
    kept = {row["id"]: row for row in await rows_of(upgraded, prices)}
    for row in PRICES:
        added = {"book": "default", "pool": "*", "gpu_price": None, "valid_until": None}
        found = kept[cast("int", row["id"])]
        assert {name: found[name] for name in row | added} == row | added
    assert len(kept) == len(PRICES)


async def test_a_new_price_gets_an_id_of_its_own(upgraded: Database) -> None:
    new = {
        "book": "default", "model": "new", "pool": "*", "gpu_price": 1, "valid_from": START, "source": "test",
        "created_at": START,
    }  # fmt: skip
    async with upgraded.begin() as connection:
        await connection.execute(upgraded.insert(prices), new)
    assert max(row["id"] for row in await rows_of(upgraded, prices)) > 9


async def test_the_receipt_of_an_old_run_verifies_once_it_is_sealed(upgraded: Database) -> None:
    async with upgraded.begin() as connection:
        made = await run_receipt(connection, "done-w")
        before = await verify(connection, "done")
        sealed = await seal(connection, "done")
        after = await verify(connection, "done")
        busy = await verify(connection, "busy")
    assert (made.receipt.cost, made.receipt.waste) == (usd_from_nano(165), usd_from_nano(60))
    assert (made.receipt.attempts, made.receipt.steps) == (4, 3)
    breaks = [item.kind for check in before.checks for item in check.breaks]
    assert breaks == [BreakKind.UNSEALED]
    assert {check.name: check.examined for check in before.checks}[CheckName.COSTS] == 4
    assert sealed is not None
    assert sealed.rows == 4
    assert after.ok
    assert busy.ok
