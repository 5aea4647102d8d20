"""A strategy that doesn't fit its judge, its output or its tools, and judges that can't judge."""

from typing import Any

import pytest

from orchestrator.steps import RunStatus
from orchestrator.strategies import Beam, BestOf, Direct, Strategy, Vote
from orchestrator.testing import Fail, Say, scripted_engine
from tests.bench import bench
from tests.programs import thoughts


def _puzzle(strategy: Strategy, **more: Any) -> dict[str, Any]:
    return {"strategy": strategy.model_dump(mode="json"), **more}


@pytest.mark.parametrize(
    ("workflow", "puzzle", "problem"),
    [
        ("solved", _puzzle(BestOf()), "it can't tell a good answer without a judge. Give judge=verified"),
        ("solved", _puzzle(Vote(), output="text"), "free texts are never equal. Give output=, extract= or key="),
        ("solved", _puzzle(Beam(), judge="tool", output="json"), "it can't tell the last step from the others"),
        ("published", _puzzle(Vote()), "it may throw branches away, and publish can't be taken back"),
        ("solved", _puzzle(Direct(), budget={"gpu_seconds": "3"}), "gpu_seconds bound whole runs"),
    ],
)
async def test_before_anything_is_asked(
    temporal_address: str, sqlite_url: str, workflow: str, puzzle: dict[str, Any], problem: str
) -> None:
    async with (
        scripted_engine([]) as engine,
        bench([thoughts.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run(workflow, puzzle)
        assert run.status is RunStatus.FAILED
        assert problem in str(run.error)
        assert engine.requests == ()


@pytest.mark.parametrize(
    ("judge", "problem"),
    [
        ("broken", "judge 'broken' failed: ZeroDivisionError: the judge has a bug"),
        ("babbling", "judge 'babbling' failed: it said 'maybe'"),
    ],
)
async def test_a_judge_that_cant_judge_ends_the_run_cleanly(
    temporal_address: str, sqlite_url: str, judge: str, problem: str
) -> None:
    async with (
        scripted_engine(lambda _: Say("It is 17.")) as engine,
        bench([thoughts.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("solved", _puzzle(BestOf(at_most=3), judge=judge))
        assert run.status is RunStatus.FAILED
        assert problem in str(run.error)
        assert not [record for record in engine.requests if record.finish is None]
        assert all(row.outcome is not None for row in await here.charges())


async def test_no_draft_has_an_answer(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine(lambda _: Say("I can't say.")) as engine,
        bench([thoughts.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("solved", _puzzle(Vote(at_most=3)))
        assert run.status is RunStatus.FAILED
        assert "vote came to no answer in 3 drafts; the last one: it has no answer in it" in str(run.error)


async def test_one_branch_that_is_refused_does_not_end_the_others(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine(
            lambda request: Fail(status=400, message="no") if request.number == 2 else Say("It is 42.")
        ) as engine,
        bench([thoughts.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("solved", _puzzle(Vote(at_most=4, confidence=None)))
        assert run.status is RunStatus.COMPLETED, run


async def test_an_engine_that_refuses_all_says_why(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine(lambda _: Fail(status=400, message="out of order")) as engine,
        bench([thoughts.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("solved", _puzzle(Vote(at_most=3)))
        assert run.status is RunStatus.FAILED
        assert "out of order" in str(run.error)
