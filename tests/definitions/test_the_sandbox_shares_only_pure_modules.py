"""Modules that the sandbox shares between runs have no state to share, and none that it needs is left out."""

import ast
import importlib
import inspect
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from pkgutil import iter_modules
from types import BuiltinFunctionType, FunctionType, GenericAlias, MappingProxyType, ModuleType, UnionType
from typing import Annotated, Any, ParamSpec, TypeVar, get_origin

import pytest
from pydantic import BaseModel, TypeAdapter
from temporalio.common import RetryPolicy, SearchAttributeKey

from orchestrator.plugin import PASSTHROUGH as SHARED

ROOT = Path(__file__).parents[2]

SEEDED = "orchestrator.strategies."
"""Has chance, but only `random.Random` with a seed that its caller gives."""


def _path_of(name: str) -> Sequence[str]:
    return getattr(importlib.import_module(name), "__path__", ())


FORBIDDEN = frozenset({
    "anyio", "faiss", "fastapi", "httpx", "io", "logging", "os", "pathlib", "random", "secrets", "socket", "sqlalchemy",
    "subprocess", "tempfile", "threading", "time", "uuid",
})  # fmt: skip

PASSTHROUGH = tuple(
    name
    for shared in SHARED
    for name in (shared, *(f"{shared}.{each.name}" for each in iter_modules(_path_of(shared))))
)
"""With the modules of the packages that are shared."""

WRITTEN_ONCE = frozenset({
    ("orchestrator.execution", "PATIENCE"),  # a RetryPolicy has no frozen form; Temporal only reads it
})  # fmt: skip
"""Globals of a kind that could hold state and doesn't."""

_IMMUTABLE = (
    str, int, float, bytes, bool, type(None), frozenset, FunctionType, type, ModuleType, TypeVar, ParamSpec,
    SearchAttributeKey, GenericAlias, UnionType, BuiltinFunctionType, TypeAdapter,
)  # fmt: skip
_IMMUTABLE_KINDS = ("typing", "typing_extensions", "dataclasses", "datetime", "decimal", "fractions", "re")


def _is_immutable(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_immutable, value))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, MappingProxyType):
        return all(map(_is_immutable, value.values()))  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
    if isinstance(value, BaseModel):
        return bool(value.model_config.get("frozen"))
    if get_origin(value) is not None or type(value).__module__ in _IMMUTABLE_KINDS:
        return True
    return isinstance(value, _IMMUTABLE)


def _own(scope: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in scope.items():
        if not (name.startswith("__") and name.endswith("__")):
            yield name, value


@pytest.mark.parametrize("name", PASSTHROUGH)
def test_a_shared_module_holds_nothing_that_can_change(name: str) -> None:
    module = importlib.import_module(name)
    for global_name, value in _own(vars(module)):
        if (name, global_name) in WRITTEN_ONCE:
            assert isinstance(value, RetryPolicy)
            continue
        if getattr(value, "__module__", name).partition(".")[0] not in ("orchestrator", "__main__") and callable(value):
            continue  # the standard library's and pydantic's own
        assert not hasattr(value, "cache_info"), f"{name}.{global_name} is a cache"
        assert _is_immutable(value), f"{name}.{global_name} is a {type(value).__name__}"


@pytest.mark.parametrize("name", PASSTHROUGH)
def test_the_classes_of_a_shared_module_hold_nothing_that_can_change(name: str) -> None:
    module = importlib.import_module(name)
    for class_name, each in inspect.getmembers(module, inspect.isclass):
        if each.__module__ != name:
            continue
        for attribute, value in _own(vars(each)):
            if attribute.startswith(("_abc", "__pydantic", "_member", "_value2member", "_unhashable", "_hashable")):
                continue  # what abc, pydantic and enum write when they make the class
            assert not (isinstance(value, list | dict | set) and attribute not in ("model_config", "model_fields")), (
                f"{name}.{class_name}.{attribute} is a {type(value).__name__}"  # pyright: ignore[reportUnknownArgumentType]
            )


@pytest.mark.parametrize("name", PASSTHROUGH)
def test_a_shared_module_imports_nothing_that_does_io(name: str) -> None:
    path = importlib.import_module(name).__file__
    assert path is not None
    imported: set[str] = set()
    for node in ast.walk(ast.parse(Path(path).read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            seeded = node.module == "random" and [alias.name for alias in node.names] == ["Random"]
            imported |= set() if seeded and name.startswith(SEEDED) else {node.module or ""}
    assert not {each.partition(".")[0] for each in imported} & FORBIDDEN


def test_what_a_workflow_imports_is_all_shared() -> None:
    listing = "print(*(name for name in sys.modules if name.startswith('orchestrator')))"
    code = f"import sys, orchestrator, orchestrator.extracting; {listing}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert set(run.stdout.split()) == {"orchestrator", *PASSTHROUGH}


def test_the_import_contract_covers_what_is_shared() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    named = [contract for contract in contracts if "no I/O" in contract["name"]]
    covered = {module for contract in named for module in contract["source_modules"]}
    assert covered == {*SHARED, "orchestrator.interceptor"}


def test_the_check_sees_state() -> None:
    assert not _is_immutable([])
    assert not _is_immutable(([1],))
    assert not _is_immutable(object())
    assert _is_immutable(("a", 1, Annotated[int, "x"]))
