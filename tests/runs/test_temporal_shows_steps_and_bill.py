"""What somebody sees who only has Temporal's own web interface."""

from temporalio.api.sdk.v1 import WorkflowMetadata

from orchestrator.execution import COST_USD, TENANT, TOKENS
from orchestrator.testing import CallTool, Say, scripted_engine
from tests.bench import bench
from tests.programs import programs


async def test_summaries_search_attributes_and_the_running_bill(temporal_address: str, sqlite_url: str) -> None:
    script = [CallTool("calculator", expression="6 * 7"), Say("It is 42.")]
    async with (
        scripted_engine(script) as engine,
        bench([programs.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run_id = await here.start("tool_loop", {"steps": 3})
        run = await here.runs.wait(run_id)
        handle = here.client.get_workflow_handle(run_id)
        attributes = (await handle.describe()).typed_search_attributes
        assert attributes.get(TENANT) == "default"
        assert attributes.get(COST_USD) == float(run.receipt.cost)
        assert attributes.get(TOKENS) == run.receipt.usage.total
        metadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
        assert (
            f"**${run.receipt.cost:f}** for {run.receipt.usage.total:,} tokens in 3 steps" in metadata.current_details
        )
        assert "| called calculator |" in metadata.current_details
        events = [event async for event in here.runs.events(run_id)]
        summaries = [event.summary for event in events if event.type == "step.started"]
        assert summaries == ["What is blue?", '{"expression": "6 * 7"}', "after calculator"]
