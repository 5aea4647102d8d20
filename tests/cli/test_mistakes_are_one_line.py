"""In this process, where everything is imported already; `test_the_process_ends_as_main_says` stands for the rest."""

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.local.ports import free_ports
from tests.cli.command import PROGRAMS, Installation

Fails = Callable[..., str]


@pytest.fixture
def fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Fails:
    """Runs a command that ends with 2; gives what its one line says after `error: `."""

    def run(*arguments: str, **settings: str) -> str:
        for name in [name for name in os.environ if name.startswith(("ORCHESTRATOR_", "TEMPORAL_"))]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        for name, value in {"STATE": str(tmp_path / "state"), **settings}.items():
            monkeypatch.setenv(f"ORCHESTRATOR_{name}", value)
        monkeypatch.setattr(sys, "argv", ["orchestrator", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert ended.value.code == 2
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1, err
        return err.removeprefix("error: ")

    return run


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("no_such_module:think", "no app is called 'no_such_module'"),
        ("no_such_package.programs:think", "no app is called 'no_such_package.programs'"),
        ("shiped:answer", "did you mean 'shipped'?"),
        (f"{PROGRAMS}:ap:think", f"did you mean '{PROGRAMS}:app'?"),
        (f"{PROGRAMS}:Loop:think", "no app. Name an Orchestrator"),
        (f"{PROGRAMS}:think:think", "no app. Name an Orchestrator"),
        (f"{PROGRAMS}:thimk", "no workflow is called 'thimk': did you mean 'think'?"),
    ],
)
def test_a_wrong_target(fails: Fails, target: str, words: str) -> None:
    assert words in fails("run", target, "--input", '"x"')


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("import a_package_that_is_missing", "can't be imported (No module named 'a_package_that_is_missing')"),
        ("from orchestrator import Orchestrator\napp = Orchestrator('No Name')", "app 'No Name'"),
    ],
)
def test_an_app_that_cannot_be_imported(
    fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, words: str
) -> None:
    name = f"broken_app_{abs(hash(module))}"
    (tmp_path / f"{name}.py").write_text(module)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert words in fails("run", f"{name}:think", "--input", '"x"')


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("hello", "--input is no JSON"),
        ('{"steps": ', "--input is no JSON"),
        ("@no/such/file.json", "no/such/file.json can't be read (No such file or directory)"),
        ('{"steps": "many"}', "steps: Input should be a valid integer"),
        ("7", "workflow 'converse' is invalid"),
    ],
)
def test_a_wrong_input(fails: Fails, given: str, words: str) -> None:
    assert words in fails("run", f"{PROGRAMS}:converse", "--input", given)


def test_an_unknown_setting(fails: Fails) -> None:
    assert "id you mean 'ORCHESTRATOR_ENGINE__MODEL'?" in fails("config", ENGINE__MODLE="qwen")


def test_a_setting_of_the_wrong_kind(fails: Fails) -> None:
    assert "engine.concurrency" in fails("config", ENGINE__CONCURRENCY="lots")


def test_a_database_that_is_none(fails: Fails) -> None:
    assert "mysql" in fails("db", "upgrade", DATABASE__URL="mysql://localhost/a")


@pytest.mark.parametrize("command", [["runs"], ["db", "upgrade"], ["db", "version"], ["serve", f"{PROGRAMS}:app"]])
def test_a_database_that_is_away(fails: Fails, command: list[str]) -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}/none"
    said = fails(*command, DATABASE__URL=f"postgresql://me:secret@{address}")
    assert f"me:***@{address} can't be used" in said
    assert "ORCHESTRATOR_DATABASE__URL" in said
    assert "secret" not in said


@pytest.mark.parametrize("command", ["worker", "serve"])
def test_a_database_without_the_schema(fails: Fails, command: str) -> None:
    said = fails(command, f"{PROGRAMS}:app", ENGINE__URLS='["http://127.0.0.1:1"]')
    assert "schema version none" in said
    assert "'orchestrator db upgrade'" in said


def test_a_worker_without_an_engine(fails: Fails) -> None:
    assert "ORCHESTRATOR_ENGINE__URLS" in fails("worker", f"{PROGRAMS}:app")


def test_the_process_ends_as_main_says(installation: Installation) -> None:
    ended = installation.call("run", f"{PROGRAMS}:thimk", "--input", '"x"')
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "error: no workflow is called 'thimk': did you mean 'think'?\n"


def test_a_port_in_use_is_named_and_nothing_stays(served: Installation) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = served.having(API__PORT=str(server.getsockname()[1]))
        ended = taken.call("dev", f"{PROGRAMS}:app")
    assert ended.returncode == 2
    error = ended.stderr.splitlines()[-1]
    assert error.startswith(f"error: the API can't listen on 127.0.0.1:{taken.settings['API__PORT']}")
    assert "ORCHESTRATOR_API__PORT" in error
    assert served.processes() == []
    assert not (served.state / "stack.json").exists()


def test_an_engine_that_is_down_is_named(installation: Installation) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    ended = installation.having(ENGINE__URLS=f'["{url}"]').call("run", f"{PROGRAMS}:think", "--input", '"x"', "--json")
    assert (ended.returncode, ended.stdout) == (1, "")
    error = ended.stderr.splitlines()[-1]
    assert error.startswith(f"error: the engine at {url} can't be reached")
    assert "'orchestrator doctor'" in error
    assert "Traceback" not in ended.stderr


def test_an_engine_of_another_model_is_named(served: Installation) -> None:
    ended = served.having(ENGINE__MODEL="other").call("run", f"{PROGRAMS}:think", "--input", '"x"', "--json")
    assert (ended.returncode, ended.stdout) == (1, "")
    error = ended.stderr.splitlines()[-1]
    assert "serves 'scripted', not 'other'" in error
    assert "ORCHESTRATOR_ENGINE__MODEL=scripted" in error
    assert "Traceback" not in ended.stderr
