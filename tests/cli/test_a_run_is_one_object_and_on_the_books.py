import json
import subprocess

import pytest

from tests.cli.command import PROGRAMS, Installation

Ended = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def completed(served: Installation) -> Ended:
    """A run that completed."""
    return served.call("run", f"{PROGRAMS}:think", "--input", '"Say hello."', "--json")


@pytest.fixture(scope="module")
def failed(served: Installation, completed: Ended) -> Ended:
    """A run after it that failed."""
    return served.call("run", f"{PROGRAMS}:buggy", "--input", "-", "--json", given='"b"')


def test_a_completed_run_prints_one_object_and_nothing_else(completed: Ended) -> None:
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.count("\n") == 1
    run = json.loads(completed.stdout)
    assert set(run) == {"run_id", "status", "result", "error", "receipt", "bill"}
    assert (run["status"], run["error"], run["result"]["text"]) == ("completed", None, "hello")
    assert run["run_id"].startswith("think-")
    assert run["receipt"]["usage"]["output"] > 0
    assert [line["kind"] for line in run["bill"]] == ["generate"]


def test_progress_goes_to_standard_error(completed: Ended) -> None:
    assert "Temporal: ready" in completed.stderr
    assert "generate Say hello." in completed.stderr


def test_a_failed_run_exits_with_3_and_says_why(failed: Ended) -> None:
    assert failed.returncode == 3
    assert failed.stdout.count("\n") == 1
    run = json.loads(failed.stdout)
    assert (run["status"], run["result"]) == ("failed", None)
    assert run["error"] == {"type": "KeyError", "message": "KeyError: 'b'"}


def test_a_run_leaves_no_process(served: Installation, failed: Ended) -> None:
    assert served.processes() == []


def test_runs_are_listed_newest_first(served: Installation, completed: Ended, failed: Ended) -> None:
    listed = served.printed("runs", "--json")
    ids = [json.loads(ended.stdout)["run_id"] for ended in (failed, completed)]
    assert [run["workflow_id"] for run in listed] == ids
    assert [run["status"] for run in listed] == ["failed", "completed"]
    assert [run["workflow_id"] for run in served.printed("runs", "--json", "--limit", "1")] == ids[:1]
    assert served.printed("runs", "--json", "--tenant", "somebody-else") == []


def test_a_person_can_copy_a_runs_id_and_read_its_cost(served: Installation, completed: Ended, failed: Ended) -> None:
    run = json.loads(completed.stdout)
    shown = served.call("runs").stdout
    assert run["run_id"] in shown
    assert f"${run['receipt']['cost'].rstrip('0')}" in shown


def test_cost_is_per_completed_run_and_holds_what_failed(served: Installation, completed: Ended, failed: Ended) -> None:
    costs = {row["group"]["workflow"]: row for row in served.printed("cost", "--json")["lines"]}
    spent = json.loads(completed.stdout)["receipt"]["cost"]
    assert (costs["think"]["completed"], costs["think"]["cost_per_completed"]) == (1, spent)
    assert (costs["buggy"]["runs"], costs["buggy"]["completed"], costs["buggy"]["cost_per_completed"]) == (1, 0, None)
    assert "think" in served.call("cost").stdout


def test_what_a_run_says_is_never_read_as_markup(served: Installation) -> None:
    ended = served.call("run", f"{PROGRAMS}:buggy", "--input", '"[/nothing] [bold]"')
    assert ended.returncode == 3
    assert "failed: KeyError: '[/nothing] [bold]'" in ended.stdout
    assert "Receipt" in ended.stdout
