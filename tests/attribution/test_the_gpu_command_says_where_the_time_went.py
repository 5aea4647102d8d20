"""`orchestrator gpu`: wall time of the GPUs, who had it, and what it cost."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from orchestrator.database import Database
from orchestrator.database.tables import engine_windows
from orchestrator.settings import Settings
from tests.attribution.world import MINUTE, SERVER, T0, World
from tests.cli.command import Installation

SECOND = 1_000_000
WINDOW: dict[str, Any] = {
    "server": SERVER, "pool": "default", "gpus": 1, "gpu_price": 2_500_000_000, "wall_us": MINUTE,
    "attributed_us": 30 * SECOND, "idle_us": 20 * SECOND, "overhead_us": 10 * SECOND, "final": True,
    "method": "fitted", "weights": {},
}  # fmt: skip


@pytest.fixture
async def installation(tmp_path: Path) -> Installation:
    installation = Installation(tmp_path / "state")
    assert installation.call("db", "upgrade").returncode == 0
    return installation


async def _write(installation: Installation, *windows: dict[str, Any]) -> None:
    rows = [{**WINDOW, "started_us": T0 + number * MINUTE, **window} for number, window in enumerate(windows)]
    url = Settings(state=installation.state).database_url
    async with Database.open(url) as database, database.begin() as connection:
        await connection.execute(insert(engine_windows), rows)


async def test_server_by_server(installation: Installation) -> None:
    await _write(
        installation,
        {},
        {"attributed_us": 0, "idle_us": MINUTE, "overhead_us": 0, "method": "assumed", "final": False},
        {"server": "http://other:1", "pool": "big", "gpus": 2, "wall_us": 2 * MINUTE, "attributed_us": 2 * MINUTE,
         "idle_us": 0, "overhead_us": 0, "gpu_price": 1_000_000_001},
    )  # fmt: skip
    report = installation.printed("gpu", "--json")
    first, second = report["servers"]
    assert report["windows"] is None
    told = {name: first[name] for name in ("server", "pool", "windows", "provisional", "methods", "utilisation")}
    assert told == {
        "server": SERVER, "pool": "default", "windows": 2, "provisional": 1,
        "methods": {"assumed": 1, "fitted": 1}, "utilisation": "0.3333",
    }  # fmt: skip
    assert (first["wall"], first["attributed"], first["idle"]) == ("PT2M", "PT30S", "PT1M20S")
    # 2.50 dollars an hour, for two minutes; the parts add up to the nano-dollar.
    assert first["cost"] == "0.083333333"
    assert [first[f"{part}_cost"] for part in ("attributed", "idle", "overhead")] == [
        "0.020833333", "0.055555555", "0.006944445",
    ]  # fmt: skip
    assert (second["wall"], second["utilisation"], second["cost"]) == ("PT2M", "1.0000", "0.033333333")

    table = installation.call("gpu").stdout
    (row,) = [line for line in table.splitlines() if SERVER in line]
    for cell in ("120.00 s", "30.00 s", "80.00 s", "10.00 s", "33.3 %", "assumed 1, fitted 1", "$0.083333333"):
        assert cell in row
    assert "1 of the windows are provisional" in table


async def test_window_by_window_of_one_server_in_a_period(installation: Installation) -> None:
    await _write(installation, {}, {}, {"server": "http://other:1"}, {})
    report = installation.printed("gpu", "--json", "--windows", "--server", SERVER, "--since", "2027-01-15T08:01Z")
    assert [window["started_at"] for window in report["windows"]] == ["2027-01-15T08:01:00Z", "2027-01-15T08:03:00Z"]
    assert [window["wall"] for window in report["windows"]] == ["PT1M"] * 2
    assert report["servers"][0]["windows"] == 2
    table = installation.call("gpu", "--windows", "--until", "2027-01-15T08:01Z").stdout
    assert table.count("2027-01-15 08:00:00") == 1
    assert "08:01" not in table


async def test_a_preview_is_computed_on_demand(installation: Installation) -> None:
    since = time.time() - T0 / 1e6 - 100
    async with Database.open(Settings(state=installation.state).database_url) as database:
        world = World(database=database)
        await world.call(since, since + 10, run=await world.run("r"))
    assert installation.printed("gpu", "--json") == {"servers": [], "windows": None}
    (server,) = installation.printed("gpu", "--json", "--preview")["servers"]
    assert (server["attributed"], server["provisional"]) == ("PT10S", server["windows"])
    assert server["wall"] != server["attributed"]


async def test_mistakes_are_one_line(installation: Installation) -> None:
    assert installation.call("gpu").stdout == "No GPU time is attributed yet.\n"
    assert installation.call("gpu", "--since", "1d").stdout == "No GPU time is attributed in this period.\n"
    await _write(installation, {})
    unknown = installation.call("gpu", "--server", "http://engine:3000")
    assert unknown.returncode == 2
    assert "no engine with GPU windows is called 'http://engine:3000'" in unknown.stderr
    assert f"did you mean '{SERVER}'?" in unknown.stderr
    wrong = installation.call("gpu", "--since", "yesterday")
    assert wrong.returncode == 2
    assert "yesterday" in wrong.stderr


async def test_a_pool_without_a_price_says_so(installation: Installation) -> None:
    await _write(installation, {"gpu_price": 0})
    shown = installation.call("gpu").stdout
    assert "The price book has no price for a GPU-hour" in shown
    assert json.loads(installation.call("gpu", "--json").stdout)["servers"][0]["cost"] == "0.000000000"
