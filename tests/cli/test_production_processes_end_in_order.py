import signal
from pathlib import Path

import pytest

from tests.cli.command import PROGRAMS, Installation


@pytest.fixture
def production(temporal_address: str, sqlite_url: str, engine_url: str, tmp_path: Path) -> Installation:
    """An installation whose Temporal, database and engine are there already."""
    profile = tmp_path / "temporalio" / "temporal.toml"
    profile.parent.mkdir()
    profile.write_text(f'[profile.default]\naddress = "{temporal_address}"\n')
    settings = {"DATABASE__URL": sqlite_url, "ENGINE__URLS": f'["{engine_url}"]', "API__PORT": "0"}
    return Installation(tmp_path / "state", settings)


@pytest.mark.parametrize(("command", "until"), [("worker", "working for programs as"), ("serve", "serving http://")])
async def test_a_service_manager_stops_them(production: Installation, command: str, until: str) -> None:
    with production.started(command, f"{PROGRAMS}:app", until=until) as process:
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in rest


async def test_a_worker_takes_the_roles_that_it_is_given(production: Installation) -> None:
    until = "working for programs as workflows, ledger"
    with production.started("worker", f"{PROGRAMS}:app", "--role", "workflows", "--role", "ledger", until=until):
        pass
