"""The dashboard that is shipped names our metrics and SGLang's as they are, and leaves none of ours out unseen."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.database import Database
from orchestrator.telemetry import Books, Drift, Engines, Exposition, Metrics

ROOT = Path(__file__).parents[2]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/orchestrator.json").read_text())
SGLANG = frozenset((Path(__file__).parent / "sglang_families.txt").read_text().split())
"""Families of a real SGLang 0.5.23, once it has answered; a test of the real one holds this list to it."""

LEFT_OUT: frozenset[str] = frozenset()
"""Families of ours that the dashboard doesn't show on purpose."""

SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
NAME = re.compile(r"\b(?:orchestrator_|sglang:)\w+")


def _targets() -> Iterator[dict[str, Any]]:
    for panel in DASHBOARD["panels"]:
        yield from panel.get("targets", ())


def _asked() -> set[str]:
    """Names of all samples in all queries, those of the variables among them."""
    queries = [target["expr"] for target in _targets()]
    queries += [variable["definition"] for variable in DASHBOARD["templating"]["list"] if "definition" in variable]
    return {name for query in queries for name in NAME.findall(query)}


@pytest.fixture
async def ours(tmp_path: Path) -> dict[str, str]:
    """Names of all samples of ours, each with its family."""
    async with (
        Database.open(f"sqlite+aiosqlite:///{tmp_path}/empty.db") as database,
        Engines.open("default", []) as engines,
    ):
        text = await Exposition(Metrics()).text()
        families = [*text_string_to_metric_families(text.decode())]
        for source in (Books(database), Drift(database), engines):
            families += source.empty
    return {family.name + suffix: family.name for family in families for suffix in SUFFIXES[family.type]}


async def test_every_metric_that_is_asked_for_exists(ours: dict[str, str]) -> None:
    asked = _asked()
    assert {name for name in asked if name.startswith("orchestrator_")} <= set(ours)
    theirs = {name for name in asked if name.startswith("sglang:")}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in theirs} <= SGLANG


async def test_every_metric_of_ours_is_shown_or_left_out_on_purpose(ours: dict[str, str]) -> None:
    shown = {ours[name] for name in _asked() if name in ours}
    assert set(ours.values()) - shown == LEFT_OUT


async def test_the_documentation_lists_every_metric_of_ours(ours: dict[str, str]) -> None:
    listed = re.findall(r"^\| `(orchestrator_\w+)` ", (ROOT / "docs/telemetry.md").read_text(), re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert {ours[name] if name in ours else ours[f"{name}_bucket"] for name in listed} == set(ours.values())


def test_legends_name_labels_that_are_there() -> None:
    for target in _targets():
        kept = {label for by in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in re.split(r",\s*", by)}
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= kept


def test_panels_say_what_they_mean_and_lie_side_by_side() -> None:
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    assert all(panel["description"].endswith(".") for panel in panels)
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert all(x < 24 for x, _ in cells)


@pytest.mark.engine
async def test_sglang_shows_what_the_list_says(sglang_url: str) -> None:
    body = {"text": "Hello, how are you?", "sampling_params": {"max_new_tokens": 8}, "stream": True}
    async with httpx.AsyncClient(base_url=sglang_url, trust_env=False, timeout=60) as http:
        for _ in range(2):
            (await http.post("/generate", json=body)).raise_for_status()
        with anyio.fail_after(30):
            while not (told := _told((await http.get("/metrics")).text)) >= SGLANG:  # noqa: ASYNC110
                await anyio.sleep(0.5)
        assert told >= SGLANG


def _told(exposition: str) -> set[str]:
    return set(re.findall(r"^# TYPE (\S+)", exposition, re.MULTILINE))
