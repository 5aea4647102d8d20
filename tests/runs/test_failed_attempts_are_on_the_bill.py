"""What the engine made is what is paid, whether an attempt succeeded or not."""

from orchestrator.steps import RunStatus
from orchestrator.testing import Break, Fail, Reply, Say, ScriptedRequest, scripted_engine
from orchestrator.usage import Usage
from tests.bench import bench, result_of
from tests.programs import programs


async def test_attempts_that_broke_off_are_paid_to_the_token(temporal_address: str, database_url: str) -> None:
    def script(request: ScriptedRequest) -> Reply:
        if request.step % 5 == 4 and request.attempt == 1:
            return Break(after_tokens=7)
        return Say(f"This is step {request.step}.")

    async with (
        scripted_engine(script) as engine,
        bench([programs.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
    ):
        run = await here.run("converse", {"steps": 20})
        assert run.status is RunStatus.COMPLETED
        served = engine.served
        assert run.receipt.usage == Usage(
            prompt=served.prompt_tokens, cached=served.cached_tokens, output=served.output_tokens, reasoning=0
        )
        assert run.receipt.attempts == 24
        assert run.receipt.steps == 20
        retried = [line.receipt for line in run.bill if line.outcome == "retried"]
        assert [receipt.usage.output for receipt in retried] == [4 * 7]
        assert run.receipt.waste == retried[0].cost > 0
        assert run.receipt.estimated  # a stream that broke off is not the engine's last word
        assert [line.receipt.estimated for line in run.bill] == [False, True]
        in_workflow = result_of(run)["receipt"]
        assert in_workflow["usage"] == run.receipt.usage.model_dump(mode="json")


async def test_refused_attempts_are_tried_again_and_cost_nothing(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine([Fail(status=503), Fail(status=429, retry_after=0), Say("at last")]) as engine,
        bench([programs.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("think", "Are you there?")
        assert result_of(run)["text"] == "at last"
        assert [(row.attempt, row.outcome, row.cost_nano) for row in await here.charges()][:2] == [
            (1, "retried", 0),
            (2, "retried", 0),
        ]


async def test_a_refusal_for_good_is_not_tried_again(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine([Fail(status=400, message="no such thing", in_stream=True)]) as engine,
        bench([programs.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("think", "Do it.")
        assert run.status is RunStatus.FAILED
        assert run.error is not None
        assert run.error.type == "EngineRejected"
        assert "no such thing" in run.error.message
        assert [row.outcome for row in await here.charges()] == ["failed"]
        assert [row.status for row in await here.totals()] == ["failed"]
