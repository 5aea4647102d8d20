import json
from pathlib import Path

import anyio
import pytest
from sqlalchemy import text

import orchestrator_migrations
from orchestrator.database import Database
from orchestrator.ledger import RunReceipt
from orchestrator.steps import RunStatus
from orchestrator.usage import Outcome
from tests.cli.command import Installation
from tests.receipts.books import Books, sealed


async def write(url: str) -> str:
    """A sealed run with a retry, a correction, a child that goes on, and a limit; the fingerprint."""
    books = Books()
    books.run("a", path="generate > search", passed=True, workflow="think")
    books.run("b", parent="a", status=RunStatus.RUNNING, closed_at=None)
    books.charge("a", 1, 1, outcome=Outcome.RETRIED, name="[m]")
    row = books.charge("a", 1, 2, name="[m]", estimated=True)
    books.correct(row, "facts", output_tokens=-3, cost_nano=-24_000)
    books.charge("a", 2, kind="tool", name="search", call_price=5_000, cost_nano=5_000, rid=None, server=None, **NONE)
    books.opened("b", 1)
    books.limits["a"] = {"limit_nano": 50_000_000, "limit_calls": 9}
    async with Database.open(url) as database:
        await orchestrator_migrations.upgrade(database)
        await books.write(database)
        made = await sealed(database, "a")
    assert made is not None
    return made.head


NONE = dict.fromkeys(("prompt_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"))


async def execute(url: str, statement: str) -> None:
    async with Database.open(url) as database, database.begin() as connection:
        await connection.execute(text(statement))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture
def there(tmp_path: Path, url: str) -> Installation:
    return Installation(tmp_path / "state", {"DATABASE__URL": url})


@pytest.fixture
def fingerprint(url: str) -> str:
    return anyio.run(write, url)


def test_a_person_sees_every_attempt_and_what_it_cost(there: Installation, fingerprint: str) -> None:
    ended = there.call("receipt", "a-w")
    assert ended.returncode == 0, ended.stderr
    lines = [line.lstrip("│├└─ ").rstrip() for line in ended.stdout.splitlines()]
    assert lines == [
        "a-w think 1 completed, passed  $0.000397, $0.000208 of it wasted (3 steps, 4 attempts, 217 tokens)",
        "path generate > search",
        f"fingerprint {fingerprint} (4 rows in 1 seal)",
        "budget $0.000397 of $0.05, $0.001 reserved; 3 of 9 calls",
        "1 generate [m]  120 + 80 cached → 17 tokens, $0.000392",
        "✘ attempt 1: retried  60 + 40 cached → 10 tokens, $0.000208 prices:1",
        "✔ attempt 2: used  60 + 40 cached → 7 tokens, $0.000184 prices:1",
        "facts, used: -3 output tokens, -$0.000024",
        "✔ 2 tool search: used  $0.000005 prices:1",
        "its own steps  $0.000397, $0.000208 of it wasted (2 steps, 3 attempts, 217 tokens)",
        "b-w think 1 running  $0.00 (1 step, 1 attempt)",
        "fingerprint none: a run is sealed when it ends",
        "… 1 generate m: open, $0.001 reserved  $0.00 prices:1",
    ]


def test_without_steps_the_totals_stay(there: Installation, fingerprint: str) -> None:
    shown = there.call("receipt", "a-w", "--no-steps").stdout
    assert "attempt 1" not in shown
    assert "2 tool search" not in shown
    assert "$0.000397, $0.000208 of it wasted" in shown
    assert "b-w think" in shown
    made = there.printed("receipt", "a-w", "--no-steps", "--json")
    assert (made["steps"], made["children"][0]["steps"], made["receipt"]["steps"]) == ([], [], 3)


def test_a_program_gets_one_receipt_as_json(there: Installation, fingerprint: str) -> None:
    ended = there.call("receipt", "a", "--json", "--verify")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("\n") == 1
    made = RunReceipt.model_validate_json(ended.stdout)
    assert (made.run_id, made.fingerprint) == ("a-w", fingerprint)
    assert made.verification is not None
    assert made.verification.ok
    as_json = json.loads(ended.stdout)
    assert as_json["receipt"]["cost"] == "0.000397000"
    assert as_json["steps"][0]["attempts"][1]["corrections"][0]["cost"] == "-0.000024000"
    assert as_json["verification"]["checks"][0] == {"name": "seals", "examined": 1, "breaks": [], "ok": True}


def test_verifying_exits_with_0_and_says_what_holds(there: Installation, fingerprint: str) -> None:
    ended = there.call("receipt", "a-w", "--verify", "--fingerprint", fingerprint)
    assert ended.returncode == 0, ended.stderr
    checks = [line for line in ended.stdout.splitlines() if line.startswith(("✔", "✘"))]
    assert len(checks) == 7
    assert all(line.startswith("✔") for line in checks)
    assert "✔ every settled row is as it was sealed (1 seal)" in checks


def test_a_changed_row_exits_with_1_and_is_named(there: Installation, url: str, fingerprint: str) -> None:
    anyio.run(execute, url, "UPDATE charges SET cost_nano = 1 WHERE kind = 'tool'")
    ended = there.call("receipt", "a-w", "--verify", "--no-steps")
    assert ended.returncode == 1
    assert "✘ every settled row is as it was sealed" in ended.stdout
    assert "a-w, seal 1: it covers 4 rows, and one of them or the seal itself isn't as it was sealed" in ended.stdout
    assert "✘ every cost is unit prices × usage" in ended.stdout
    assert "✔ what each run has reserved" in ended.stdout
    as_json = there.call("receipt", "a-w", "--verify", "--json")
    assert as_json.returncode == 1
    assert json.loads(as_json.stdout)["verification"]["ok"] is False
    assert there.call("receipt", "a-w").returncode == 0


def test_a_fingerprint_that_is_gone_exits_with_1(there: Installation, fingerprint: str) -> None:
    ended = there.call("receipt", "a-w", "--fingerprint", "0" * 64)
    assert ended.returncode == 1
    assert f"no seal has the head {'0' * 64}" in ended.stdout


def test_rows_that_make_no_receipt_are_still_verified(there: Installation, url: str, fingerprint: str) -> None:
    anyio.run(execute, url, "UPDATE charges SET outcome = 'gratis' WHERE kind = 'tool'")
    ended = there.call("receipt", "a-w", "--verify")
    assert ended.returncode == 1
    assert "✘ every settled row is as it was sealed" in ended.stdout
    assert ended.stderr.startswith("error: the ledger's rows of run 'a-w'")
    as_json = there.call("receipt", "a-w", "--verify", "--json")
    assert (as_json.returncode, as_json.stdout) == (1, "")
    assert "✘ every settled row is as it was sealed" in as_json.stderr


def test_an_unknown_run_is_one_line_with_what_was_meant(there: Installation, fingerprint: str) -> None:
    ended = there.call("receipt", "a-v")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "error: no run is called 'a-v': did you mean 'a-w'?\n"
