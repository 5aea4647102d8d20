import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

PATH = Path(__file__).parents[2] / "docs" / "check.py"


@pytest.fixture
def check() -> ModuleType:
    """`docs/check.py`, which is no package's."""
    spec = importlib.util.spec_from_file_location("docs_check", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def document(tmp_path: Path) -> Path:
    return tmp_path / "README.md"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("orchestrator rum support:answer", "No such command 'rum'"),
        ("$ orchestrator collections ad handbook", "No such command 'ad'"),
        ("orchestrator runs --tenants acme", "No such option"),
        ("orchestrator run support:answer", "Missing option '--input'"),
        ("orchestrator serve  # the API", "Missing argument 'APPS...'"),
        ("orchestrator runs acme", "unexpected extra argument (acme)"),
        ("orchestrator runs --limit many", "Invalid value for '--limit'"),
        ("orchestrator worker support:app --role engines", "Invalid value for '--role'"),
        ('orchestrator run support:answer --input \'"x"', "No closing quotation"),
        ("ORCHESTRATOR_STATE=/tmp/a orchestrator demoo", "No such command 'demoo'"),
    ],
)
@pytest.mark.parametrize("block", ["Type:\n\n    {}\n\nand wait.", "```sh\n{}\n```", "- Type\n\n      {}\n"])
def test_a_wrong_command_is_named(check: ModuleType, document: Path, block: str, command: str, words: str) -> None:
    document.write_text(block.format(command))
    (problem,) = check.bad_commands(document)
    assert problem.startswith(f"{document}: ")
    assert repr(command) in problem
    assert words in problem


@pytest.mark.parametrize(
    "text",
    [
        "    orchestrator run support:answer --input '\"When?\"' --json  # prints one object",
        "    orchestrator collections --tenant acme add handbook a/folder/that/is/not/here",
        "    orchestrator dev",
        "    orchestrator --help",
        "    orchestrator run --help",
        "    orchestrator",
        "The\norchestrator brings up Temporal.",
        "    orchestrator_tools",
    ],
)
def test_a_right_command_is_none(check: ModuleType, document: Path, text: str) -> None:
    document.write_text(text)
    assert list(check.bad_commands(document)) == []


def test_a_python_block_that_breaks_is_named(check: ModuleType, document: Path) -> None:
    document.write_text(
        "```python\nfrom orchestrator import Orchestrator\napp = Orchestrator('a')\n```\n"
        "```python\nfrom orchestrator import Orchestrater\n```\n"
        "```python\ndef broken(:\n```\n"
        "```text\nnot Python\n```\n"
        "```python\napp.run()\n```\n"
    )
    second, third, fourth = check.bad_blocks(document)
    assert second.startswith(f"{document}, Python block 2: ImportError: cannot import name 'Orchestrater'")
    assert third.startswith(f"{document}, Python block 3: SyntaxError")
    assert fourth == f"{document}, Python block 4: NameError: name 'app' is not defined"
    assert not [name for name in sys.modules if name.startswith("readme_block_")]


def test_a_stale_reference_is_named_and_written_anew(
    check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "cli.md"
    monkeypatch.setattr(check, "REFERENCE", page)
    assert list(check.stale_reference()) == ["cli.md is out of date: type 'make docs'"]
    monkeypatch.setattr(sys, "argv", ["check.py", "--write"])
    check.main()
    assert list(check.stale_reference()) == []
    assert "## orchestrator collections add" in page.read_text()
    page.write_text(page.read_text().replace("--tenant", "--owner"))
    assert len(list(check.stale_reference())) == 1


def test_any_problem_fails_the_check(
    check: ModuleType, document: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    document.write_text("    orchestrator demoo\n")
    monkeypatch.setattr(check, "DOCUMENTS", [document])
    monkeypatch.setattr(sys, "argv", ["check.py"])
    with pytest.raises(SystemExit) as ended:
        check.main()
    assert ended.value.code == 1
    assert "'orchestrator demoo'" in capsys.readouterr().err


def test_the_documents_hold(check: ModuleType) -> None:
    assert list(check.stale_reference()) == []
    assert [problem for document in check.DOCUMENTS for problem in check.bad_commands(document)] == []
    assert list(check.bad_blocks(check.ROOT / "README.md")) == []
