"""An upgrade adds columns to the ledger; what an earlier version sealed verifies as before, to the letter."""

import hashlib
import json
from pathlib import Path
from typing import Any, cast

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, MetaData, insert

import orchestrator_migrations
from orchestrator.database import Database
from orchestrator.ledger import run_receipt, verify
from tests.receipts.books import START, Books

RUN = "done"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/old.db"
    return cast("str", request.getfixturevalue("empty_postgres_url"))


def _sealed(row: dict[str, Any]) -> str:
    """The head over one row, by the words of `orchestrator.ledger.seals` and none of its code."""

    def line(value: Any) -> bytes:
        def moment(at: Any) -> str:
            return cast("str", at.isoformat(timespec="microseconds"))

        return json.dumps(value, sort_keys=True, separators=(",", ":"), default=moment).encode() + b"\n"

    shown = {name: value for name, value in row.items() if value is not None and name != "seal"}
    shown["result"] = hashlib.sha256(line(row["result"])[:-1]).hexdigest()
    return hashlib.sha256(line({"before": None, "number": 1, "run": RUN}) + line(shown)).hexdigest()


def _fill(connection: Connection) -> str:
    config = Config()
    config.set_main_option("script_location", str(Path(orchestrator_migrations.__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, "0002")
    tables = MetaData()
    tables.reflect(connection)
    books = Books()
    books.run(RUN)
    row = books.charge(RUN, seal=1)
    connection.execute(insert(tables.tables["runs"]), books.runs)
    account = {
        "id": RUN, "tenant": "default", "kept_ppm": 0, "sealed": True, "calls": 1, "spent_nano": row["cost_nano"],
        "spent_tokens": 110, "spent_gpu_us": 0, "reserved_nano": 0, "reserved_tokens": 0, "reserved_gpu_us": 0,
    }  # fmt: skip
    connection.execute(insert(tables.tables["accounts"]), account)
    connection.execute(insert(tables.tables["charges"]), row)
    head = _sealed(row)
    connection.execute(
        insert(tables.tables["seals"]), {"run": RUN, "number": 1, "rows": 1, "head": head, "sealed_at": START}
    )
    return head


async def test_by_the_version_before(empty_url: str) -> None:
    async with Database.open(empty_url) as database:
        async with database.begin() as connection:
            head = await connection.run_sync(_fill)
        assert await orchestrator_migrations.version(database) == "0002"
        await orchestrator_migrations.upgrade(database)
        async with database.snapshot() as connection:
            verification = await verify(connection, RUN, fingerprints=[head])
            made = await run_receipt(connection, RUN)
    assert verification.ok, verification
    assert made.fingerprint == head
    assert made.receipt.saved.results == 0
