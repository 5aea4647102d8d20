"""A workflow on the real Temporal, with a scripted engine: what it returns and what is on its bill."""

from decimal import Decimal

from orchestrator.steps import RunStatus
from orchestrator.testing import CallTool, Say, scripted_engine
from tests.bench import bench, result_of
from tests.programs import programs


async def test_the_receipt_is_what_the_engine_made(temporal_address: str, database_url: str) -> None:
    async with (
        scripted_engine([Say("It is blue.")]) as engine,
        bench([programs.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
    ):
        run = await here.run("think", "What colour is it?")
        assert run.status is RunStatus.COMPLETED
        assert result_of(run)["text"] == "It is blue."
        usage = run.receipt.usage
        assert (usage.prompt, usage.cached, usage.output) == (
            engine.served.prompt_tokens,
            engine.served.cached_tokens,
            engine.served.output_tokens,
        )
        price = here.settings.price
        expected = (
            (usage.uncached or 0) * price.input
            + (usage.cached or 0) * price.cached_input
            + (usage.output or 0) * price.output
        ) / 1_000_000
        assert run.receipt.cost == expected.quantize(Decimal("1e-9"))
        assert run.receipt.waste == 0


async def test_tools_are_called_and_their_results_reach_the_model(temporal_address: str, database_url: str) -> None:
    script = [CallTool("calculator", expression="6 * 7"), Say("It is 42.")]
    async with (
        scripted_engine(script) as engine,
        bench([programs.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
    ):
        run = await here.run("tool_loop", {"steps": 3})
        assert result_of(run)["text"] == "It is 42."
        assert engine.requests[1].request.last_message == "42"
        assert [(row.kind, row.outcome) for row in await here.charges()] == [
            ("generate", "used"),
            ("tool", "used"),
            ("generate", "used"),
        ]


async def test_branches_share_what_was_said_before(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine(lambda request: Say(f"reply to {request.last_message}")) as engine,
        bench([programs.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("branches", 3)
        assert run.result == [f"reply to Branch {n}." for n in range(3)]
        first, *others = engine.requests
        shared = [*first.prompt_ids, *first.output_ids]
        assert all(record.prompt_ids[: len(shared)] == shared for record in others)


async def test_a_plain_workflow_class_may_use_the_context(temporal_address: str, sqlite_url: str) -> None:
    async with (
        scripted_engine([Say("yes")]) as engine,
        bench([programs.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        from temporalio.worker import Worker

        from orchestrator.connect import connect

        client = await connect([programs.app.plugin()], address=temporal_address)
        async with Worker(client, task_queue="plain", workflows=[programs.PlainClass]):
            result = await client.execute_workflow(
                programs.PlainClass.run, "Is it blue?", id="plain-1", task_queue="plain"
            )
        assert result == "yes"
        assert [row.status for row in await here.totals()] == ["completed"]
