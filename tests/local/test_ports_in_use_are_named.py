import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import ConfigurationError
from orchestrator.local import EngineServer, TemporalServer
from orchestrator.local.ports import free_ports, is_free, next_free_port, require_free


@pytest.fixture
def used_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_free_ports_differ_and_are_free() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(is_free(port) for port in ports)


def test_a_used_port_is_refused_with_the_setting_to_change(used_port: int) -> None:
    assert not is_free(used_port)
    with pytest.raises(ConfigurationError) as caught:
        require_free(used_port, "ORCHESTRATOR_API__PORT")
    assert f"something else listens on 127.0.0.1:{used_port}" in caught.value.problem
    assert "ORCHESTRATOR_API__PORT" in caught.value.remedy


def test_the_next_free_port_skips_used_ones(used_port: int) -> None:
    assert next_free_port(used_port) > used_port


@pytest.mark.parametrize(
    ("options", "setting"),
    [("port", "ORCHESTRATOR_TEMPORAL__PORT"), ("ui_port", "ORCHESTRATOR_TEMPORAL__UI_PORT")],
)
async def test_temporal_names_its_settings(tmp_path: Path, used_port: int, options: str, setting: str) -> None:
    ports = {options: used_port}
    server = TemporalServer(log=tmp_path / "log", db_file=None, port=ports.get("port"), ui_port=ports.get("ui_port"))
    with pytest.raises(ConfigurationError, match=setting):
        async with server.start():
            pass


async def test_the_engine_names_its_setting(tmp_path: Path, used_port: int) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.touch()
    server = EngineServer(environment=tmp_path, model=tmp_path, log=tmp_path / "log", port=used_port)
    with pytest.raises(ConfigurationError, match="ORCHESTRATOR_ENGINE__PORT"):
        async with server.start():
            pass
