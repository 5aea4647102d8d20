"""The programs of the data files beside this module."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Friendly", "Hostile", "friendly", "hostile"]

FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Hostile:
    name: str
    code: str
    error: str
    """A regular expression of the kinds of error that it may end with."""


@dataclass(frozen=True, kw_only=True)
class Friendly:
    name: str
    code: str
    printed: str = ""
    value: str | None = None


def hostile() -> Sequence[Hostile]:
    return [Hostile(**each) for each in _read("hostile.toml")]


def friendly() -> Sequence[Friendly]:
    return [Friendly(**each) for each in _read("friendly.toml")]


def _read(name: str) -> list[dict[str, str]]:
    return tomllib.loads((FOLDER / name).read_text())["program"]
