import json
import os
import socket
from pathlib import Path

import httpx
import pytest
from pydantic import HttpUrl, SecretStr
from sqlalchemy import text

from orchestrator.database import Database
from orchestrator.local import Check, examine
from orchestrator.local.ports import free_ports
from orchestrator.plugins import migrations
from orchestrator.settings import ApiSettings, DatabaseSettings, EngineSettings, Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_temporal_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TEMPORAL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))


async def _checks(settings: Settings) -> dict[str, Check]:
    checks = await examine(settings)
    names = [check.name for check in checks]
    assert len(set(names)) == len(names)
    return {check.name: check for check in checks}


async def test_a_complete_installation_misses_nothing(tmp_path: Path) -> None:
    checks = await _checks(Settings(state=tmp_path, engine=EngineSettings(environment=ROOT / ".venv-engine")))
    assert [check for check in checks.values() if check.state == "missing"] == []
    assert checks["engine environment"].detail.startswith("SGLang 0.5.")
    assert checks["model"].state == "warning"


async def test_it_changes_nothing(tmp_path: Path) -> None:
    state = tmp_path / "state"
    await examine(Settings(state=state))
    assert not state.exists()


async def test_what_is_missing_has_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    monkeypatch.setenv("TEMPORAL_ADDRESS", address)
    url = SecretStr(f"postgresql://me:secret@127.0.0.1:{free_ports(1)[0]}/none")
    settings = Settings(
        state=tmp_path, engine=EngineSettings(environment=tmp_path / "none"), database=DatabaseSettings(url=url)
    )
    checks = await _checks(settings)
    assert {name for name, check in checks.items() if check.state == "missing"} == {
        "Temporal server",
        "engine environment",
        "database",
    }
    assert all(check.remedy for check in checks.values() if check.state != "ok")
    assert address in checks["Temporal server"].detail
    assert "secret" not in checks["database"].detail


async def test_engines_are_asked_for_their_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "down.example":
            raise httpx.ConnectError("refused", request=request)
        if request.url.path == "/health":
            return httpx.Response(200)
        return httpx.Response(200, content=json.dumps({"data": [{"id": request.url.host}]}))

    original = httpx.AsyncClient.__init__

    def with_fake_wire(self: httpx.AsyncClient, *, timeout: float) -> None:
        original(self, timeout=timeout, transport=httpx.MockTransport(answer))

    monkeypatch.setattr(httpx.AsyncClient, "__init__", with_fake_wire)
    urls = tuple(HttpUrl(f"http://{host}") for host in ("qwen", "llama", "down.example"))
    checks = await _checks(Settings(state=tmp_path, engine=EngineSettings(urls=urls, model="qwen")))
    assert checks["engine http://qwen"].state == "ok"
    assert "ORCHESTRATOR_ENGINE__MODEL=llama" in checks["engine http://llama"].detail
    assert checks["engine http://down.example"].detail == "refused"


async def test_a_database_is_ok_once_its_schema_is_the_newest(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path)
    async with Database.open(settings.database_url) as database:
        async with database.begin() as connection:
            await connection.execute(text("CREATE TABLE a (b INTEGER)"))
        checks = await _checks(settings)
        assert checks["database"].state == "warning"
        assert "orchestrator db upgrade" in checks["database"].remedy
        await migrations().upgrade(database)
    assert (await _checks(settings))["database"].state == "ok"


async def test_a_used_api_port_matters_only_where_it_was_asked_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        checks = await _checks(Settings(state=tmp_path, api=ApiSettings(port=port)))
    assert checks["API port"].state == "warning"
    assert "ORCHESTRATOR_API__PORT" in checks["API port"].remedy
