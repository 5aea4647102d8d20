import json
import subprocess
from importlib.metadata import version
from pathlib import Path

from tests.cli.command import Installation, engine_of

URL = "postgresql://me:open-sesame@db.example/orchestrator"


def test_the_version_is_that_of_the_distribution(installation: Installation) -> None:
    assert installation.call("--version").stdout.strip().endswith(version("reasoning-orchestrator"))


def test_an_upgrade_is_done_once(installation: Installation) -> None:
    assert installation.call("db", "version").stdout.startswith("database none, needed ")
    assert installation.call("db", "upgrade").stdout.startswith("upgraded from nothing to ")
    assert installation.call("db", "upgrade").stdout.endswith("already\n")
    before, after = installation.call("db", "version").stdout.removeprefix("database ").split(", needed ")
    assert before == after.strip()


def test_the_configuration_hides_the_databases_password(installation: Installation) -> None:
    there = installation.having(DATABASE__URL=URL, ENGINE__MODEL="qwen")
    lines, as_json = there.call("config"), there.call("config", "--json")
    assert "open-sesame" not in lines.stdout + as_json.stdout
    assert "ORCHESTRATOR_ENGINE__MODEL=qwen" in lines.stdout.splitlines()
    assert json.loads(as_json.stdout)["engine"]["model"] == "qwen"


def test_the_configuration_can_be_given_back(installation: Installation) -> None:
    there = installation.having(ENGINE__URLS='["http://127.0.0.1:1","http://127.0.0.1:2"]', ENGINE__TIMEOUT="PT5M")
    lines = there.call("config").stdout
    settings = dict(line.removeprefix("ORCHESTRATOR_").split("=", 1) for line in lines.splitlines())
    again = installation.having(**{name: value for name, value in settings.items() if value and name != "STATE"})
    assert again.call("config").stdout == lines


def test_the_doctor_exits_with_0_where_nothing_is_missing(installation: Installation, tmp_path: Path) -> None:
    with engine_of(script=tmp_path / "script.json") as url:
        checks = _checks(doctor := installation.having(ENGINE__URLS=f'["{url}"]').call("doctor", "--json"))
    assert checks[f"engine {url}"]["state"] == "ok"
    assert checks[f"engine {url}"]["detail"] == "serves scripted"
    assert doctor.returncode == 0


def test_the_doctor_exits_with_1_and_a_remedy_where_something_is(installation: Installation) -> None:
    there = installation.having(ENGINE__ENVIRONMENT="nowhere")
    checks = _checks(doctor := there.call("doctor", "--json"))
    assert checks["engine environment"]["state"] == "missing"
    assert doctor.returncode == 1
    for_people = there.call("doctor")
    assert for_people.returncode == 1
    assert checks["engine environment"]["remedy"] in " ".join(for_people.stdout.split())


def _checks(doctor: "subprocess.CompletedProcess[str]") -> dict[str, dict[str, str]]:
    checks = json.loads(doctor.stdout)
    assert {"Python", "Temporal server", "database"} < {check["name"] for check in checks}
    return {check["name"]: check for check in checks}
