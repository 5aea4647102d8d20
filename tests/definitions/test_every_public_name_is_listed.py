"""`__all__` says what is public: all of it is there, and a package's front lists all that it shows."""

import ast
import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

import pytest

import orchestrator
import orchestrator_migrations
import orchestrator_retrieval
import orchestrator_tools
import orchestrator_workflows

ROOTS = (orchestrator, orchestrator_migrations, orchestrator_retrieval, orchestrator_tools, orchestrator_workflows)
NOT_IMPORTABLE = (
    "orchestrator.__main__",
    "orchestrator.keeper",
    "orchestrator.local.__main__",
    "orchestrator.local.sglang_cpu",
    "orchestrator_migrations.env",
    "orchestrator_migrations.versions",
)
"""Programs, what runs inside the engine's own environment, and what only Alembic loads."""


def _modules() -> list[str]:
    names: list[str] = []
    for root in ROOTS:
        names.append(root.__name__)
        names += [found.name for found in pkgutil.walk_packages(root.__path__, f"{root.__name__}.")]
    return [name for name in names if not name.startswith(NOT_IMPORTABLE)]


MODULES = _modules()
PACKAGES = [name for name in MODULES if hasattr(importlib.import_module(name), "__path__")]


def _tree(module: ModuleType) -> ast.Module:
    assert module.__file__ is not None
    return ast.parse(Path(module.__file__).read_text())


@pytest.mark.parametrize("name", MODULES)
def test_what_is_listed_is_there(name: str) -> None:
    module = importlib.import_module(name)
    listed = getattr(module, "__all__", None)
    assert isinstance(listed, list), f"{name} has no __all__"
    assert listed == list(dict.fromkeys(listed))  # pyright: ignore[reportUnknownArgumentType]
    assert [each for each in listed if not hasattr(module, each)] == []  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_lists_all_that_it_shows(name: str) -> None:
    module = importlib.import_module(name)
    shown: set[str] = set()
    for node in _tree(module).body:
        if isinstance(node, ast.ImportFrom | ast.Import):
            shown |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            shown.add(node.name)
        elif isinstance(node, ast.Assign):
            shown |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            shown.add(node.target.id)
    assert {each for each in shown if not each.startswith("_")} == set(module.__all__)
