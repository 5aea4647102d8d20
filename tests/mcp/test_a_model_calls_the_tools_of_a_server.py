"""A run with a real MCP server: what the model is offered, what it reads, and what is on the bill."""

from collections.abc import Callable
from decimal import Decimal

from orchestrator.steps import RunStatus
from orchestrator.testing import CallTool, Say, scripted_engine
from tests.bench import bench
from tests.mcp import program

FIND = "tickets_find_e6640de8"
"""The app has a tool of the name that the server's would have."""

READ = (
    (CallTool("tickets_picture"), "the first page\n[image: image/png, 33 bytes]"),
    (CallTool("tickets_huge", size=15_000), "x" * 15_000),
    (CallTool("tickets_huge", size=25_000), "it returned 25,000 bytes, more than the 20,000 allowed"),
    (CallTool("tickets_fail"), "error: Error executing tool fail: there is no such ticket"),
    (CallTool("tickets_create", ticket={"number": "x", "title": "y"}), "ticket.number: 'x' is not of type 'integer'"),
    (CallTool("tickets_create"), "'ticket' is a required property"),
    (CallTool("tickets_creat"), "no tool is called 'tickets_creat': did you mean 'tickets_create'?"),
    (CallTool("tickets_reveal"), "the token is ***\0"),
    (CallTool("tickets_find"), "not the server's"),
)
"""Calls, and what the model reads of them."""


async def test_its_calls_are_steps_on_the_bill(
    temporal_address: str, database_url: str, alive: Callable[[], list[int]]
) -> None:
    script = [
        CallTool(FIND, number=7),
        CallTool("tickets_create", ticket={"number": 8, "title": "a leak", "parent": {"number": 7, "title": "rain"}}),
        CallTool("tickets_reveal"),
        Say("It is done."),
    ]
    async with (
        scripted_engine(script) as engine,
        bench([program.app], temporal=temporal_address, database_url=database_url, engine=engine.url) as here,
    ):
        run = await here.run("help_out", "Mend it.")
        assert run.result == "It is done."
        first, second, third, _ = (record.request for record in engine.requests)
        assert '"title": "ticket 7"' in second.last_message
        assert third.last_message.startswith("created 'a leak' under the key ")
        assert "tickets_create" in first.prompt
        assert "Find a ticket by its number." in first.prompt
        rows = [row for row in await here.charges() if row.kind == "tool"]
        assert [(row.name, row.outcome, row.cost_nano) for row in rows] == [
            ("tickets.list_tools", "used", 0),
            ("tickets.find", "used", 3_000_000),
            ("tickets.create", "used", 3_000_000),
            ("tickets.reveal", "used", 3_000_000),
        ]
        assert run.receipt.cost > Decimal("0.009")
        assert third.last_message.endswith(f" {rows[2].run_id}:{rows[2].activity_id}")
        assert len(alive()) == 1
    assert alive() == []


async def test_it_reads_results_failures_and_mistakes(
    temporal_address: str, sqlite_url: str, done: Callable[[str], int]
) -> None:
    script = [
        Say(calls=tuple(call for call, _ in READ)),
        CallTool("tickets_change"),
        CallTool("tickets_close", number=1),
        Say("So be it."),
    ]
    async with (
        scripted_engine(script) as engine,
        bench([program.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("help_out", "Go on.")
        assert run.status is RunStatus.COMPLETED
        read = [message.text for message in engine.requests[1].request.messages if message.role == "tool"]
        for text, (_, words) in zip(read, READ, strict=True):
            assert words in text
        assert done("created") == 0
        assert done("failed") == 1
        # The run was offered the tool, and the server has taken it away since.
        assert engine.requests[3].request.last_message == "error: Unknown tool: close"


async def test_it_calls_nothing_that_the_app_refuses(
    temporal_address: str, sqlite_url: str, done: Callable[[str], int]
) -> None:
    script = [CallTool("wary_create", ticket={"number": 1, "title": "x"}), Say("So be it.")]
    async with (
        scripted_engine(script) as engine,
        bench([program.app], temporal=temporal_address, database_url=sqlite_url, engine=engine.url) as here,
    ):
        run = await here.run("ask_wary", "Create one.")
        assert run.result == "So be it."
        assert "Tool 'wary_create' wasn't called" in engine.requests[1].request.last_message
        assert done("created") == 0
