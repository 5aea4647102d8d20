"""In a run, our classes are the very ones outside, the user's module is its own, and the world can't be reached."""

import pytest

from orchestrator.steps import RunStatus
from tests.bench import bench, result_of
from tests.programs import impure


async def test_our_classes_are_shared_and_the_users_module_is_not(temporal_address: str, sqlite_url: str) -> None:
    async with bench([impure.app], temporal=temporal_address, database_url=sqlite_url, engine=None) as here:
        seen = result_of(await here.run("identities", ""))
    outside = {name: id(each) for name, each in impure.SHARED.items()}
    assert {name: seen[name] for name in outside} == outside
    assert seen["MARK"] != id(impure.MARK)


@pytest.mark.parametrize("what", list(impure.IMPURE))
async def test_what_is_not_deterministic_ends_the_run(temporal_address: str, sqlite_url: str, what: str) -> None:
    async with bench([impure.app], temporal=temporal_address, database_url=sqlite_url, engine=None) as here:
        run = await here.run("impure", what)
    assert run.status is RunStatus.FAILED
    assert run.error is not None
    assert run.error.type == "RestrictedWorkflowAccessError"
    assert what in run.error.message
    assert "from inside a workflow" in run.error.message
