import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from orchestrator.cli import cli

HEAVY = {
    "aiosqlite", "alembic", "asyncpg", "faiss", "fastapi", "httpx", "numpy", "onnxruntime", "rich", "sqlalchemy",
    "tokenizers", "uvicorn", "orchestrator_retrieval", "orchestrator_workflows", "orchestrator.api",
    "orchestrator.local", "orchestrator.session", "orchestrator.worker",
}  # fmt: skip
PROGRAM = """
import json, sys
from orchestrator.cli import main
sys.argv = ["orchestrator", *sys.argv[1:]]
try:
    main()
except SystemExit:
    print(json.dumps(sorted(sys.modules)))
"""


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_the_root_imports_nothing_that_is_slow(argument: str) -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM, argument], capture_output=True, text=True, check=True)
    modules = set(json.loads(ended.stdout.splitlines()[-1]))
    assert "orchestrator.cli.main" in modules
    assert modules & HEAVY == set()


def test_every_command_is_listed_with_its_own_summary() -> None:
    shown = CliRunner().invoke(cli, ["--help"], terminal_width=100).output
    names = cli.list_commands(cli.make_context("orchestrator", ["--help"], resilient_parsing=True))
    assert {"collections", "demo", "dev", "run"} < set(names)
    for name in names:
        command = cli.get_command(cli.make_context("orchestrator", [name], resilient_parsing=True), name)
        assert command is not None
        summary = command.get_short_help_str(50).removesuffix("...")
        assert any(line.split(maxsplit=1)[0] == name and summary in line for line in shown.splitlines() if line.strip())
