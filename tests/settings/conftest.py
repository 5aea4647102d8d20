import os
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.settings import PREFIX, Settings

Load = Callable[..., Settings]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Settings of a process in an empty folder, with this file and these variables and no others of ours."""

    def load(toml: str = "", **environment: str) -> Settings:
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            for name in list(os.environ):
                if name.upper().startswith(PREFIX):
                    patch.delenv(name)
            for name, value in environment.items():
                patch.setenv(f"{PREFIX}{name}", value)
            (tmp_path / "orchestrator.toml").write_text(toml)
            return Settings.load()

    return load
