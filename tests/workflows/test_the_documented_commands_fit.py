"""The commands of `docs/workflows.md`: one for each workflow, with an input that it takes."""

import json
import re
import shlex
from pathlib import Path

import pytest

from orchestrator_workflows import app

PAGE = Path(__file__).parents[2] / "docs" / "workflows.md"
COMMANDS = re.findall(r"^    orchestrator run shipped:(\w+) (.*)$", PAGE.read_text(), re.MULTILINE)


def test_every_workflow_has_its_command() -> None:
    assert [name for name, _ in COMMANDS] == re.findall(r"^## (\w+)$", PAGE.read_text(), re.MULTILINE)
    assert sorted(name for name, _ in COMMANDS) == sorted(workflow.signature.name for workflow in app.workflows)


@pytest.mark.parametrize(("name", "options"), COMMANDS)
def test_its_input_is_taken(name: str, options: str) -> None:
    _, given = shlex.split(options)
    app.find_workflow(name).signature.parse(json.loads(given))


def test_every_workflow_says_what_it_does_and_may_cost() -> None:
    for workflow in app.workflows:
        assert (workflow.__doc__ or "").strip().endswith("."), workflow.signature.name
        assert workflow.orchestrator_budget is not None
        assert workflow.orchestrator_budget.usd is not None
