import subprocess
import tomllib
from configparser import ConfigParser
from email.parser import Parser
from importlib.metadata import EntryPoint
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "orchestrator": "orchestrator",
    "orchestrator_workflows": "workflows/orchestrator_workflows",
    "orchestrator_tools": "tools/orchestrator_tools",
    "orchestrator_retrieval": "retrieval/orchestrator_retrieval",
    "orchestrator_migrations": "migrations/orchestrator_migrations",
}


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[PurePosixPath]:
    """All files in the wheel but its metadata."""
    with ZipFile(wheel) as archive:
        paths = {PurePosixPath(name) for name in archive.namelist()}
    return {path for path in paths if not path.parts[0].endswith(".dist-info")}


def test_its_top_level_is_the_five_packages(names: set[PurePosixPath]) -> None:
    assert {path.parts[0] for path in names} == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_is_typed_and_whole(names: set[PurePosixPath], package: str) -> None:
    folder = ROOT / PACKAGES[package]
    tracked = subprocess.check_output(["git", "ls-files", "."], cwd=folder, text=True).splitlines()
    assert "py.typed" in tracked
    missing = [name for name in tracked if (folder / name).exists() and PurePosixPath(package) / name not in names]
    assert missing == []


@pytest.mark.parametrize(
    "path",
    [
        "orchestrator_migrations/env.py",
        "orchestrator_migrations/versions/0001_the_first_schema.py",
        "orchestrator/keeper.py",
        "orchestrator/local/sglang_cpu/launch.py",
        "orchestrator/local/sglang_cpu/prepare_model.py",
        "orchestrator/local/sglang_cpu/chat_template.jinja",
    ],
)
def test_what_is_no_import_is_inside(names: set[PurePosixPath], path: str) -> None:
    assert PurePosixPath(path) in names


def test_it_holds_no_tests_and_no_caches(names: set[PurePosixPath]) -> None:
    unwanted = {"tests", "__pycache__", ".venv", ".orchestrator"}
    assert [path for path in names if unwanted & set(path.parts) or path.name.startswith("test_")] == []


def test_its_entry_points_can_be_loaded(wheel: Path) -> None:
    found = ConfigParser(delimiters="=")
    with ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt")]
        found.read_string(archive.read(name).decode())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {**project["entry-points"], "console_scripts": project["scripts"]}
    assert {group: dict(found[group]) for group in found.sections()} == wanted
    assert "orchestrator" in wanted["console_scripts"]
    for group in found.sections():
        for name, value in found[group].items():
            assert EntryPoint(name, value, group).load() is not None


def test_its_metadata_is_complete(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(name).decode())
        licences = [name for name in archive.namelist() if name.endswith("/LICENSE")]
    assert metadata["Name"] == "reasoning-orchestrator"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert len(licences) == 1
    assert {"local", "retrieval", "gpu"} <= set(metadata.get_all("Provides-Extra", []))
