"""A tool's result that is longer than a conversation shows is kept whole; the model sees a page, and asks for more."""

import re
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import JsonValue

from orchestrator.steps import RunStatus
from orchestrator.testing import CallTool, Reply, Say, ScriptedRequest
from orchestrator.view import SHOW
from tests.bench import Bench, result_of
from tests.conversations.program import book

if TYPE_CHECKING:
    from tests.conversations.conftest import Stage
else:
    Stage = Any

LINE = re.compile(r"\n\[characters ([\d,]+) to ([\d,]+) of ([\d,]+) of result (\w{8})\. (.*)\]$")
MORE = re.compile(r"To read on, call read_more with result '(\w{8})' and offset (\d+)\.")


def reader(number: int, size: int) -> Any:
    """A model that reads a book to its end."""

    def script(request: ScriptedRequest) -> Reply:
        if request.messages[-1].role != "tool":
            return CallTool("read_book", number=number, size=size)
        if found := MORE.search(request.last_message):
            return CallTool("read_more", result=found[1], offset=int(found[2]))
        return Say("That was all.")

    return script


async def test_to_its_end(here: Bench, stage: Stage) -> None:
    stage.plays(reader(1, 25_000))
    run_id = await here.start("read", {"show": 8_000})
    run = await here.runs.wait(run_id)
    assert result_of(run)[0] == "That was all."
    pages = [message.text for message in stage.requests[-1].request.messages if message.role == "tool"]
    lines = [LINE.search(page) for page in pages]
    assert "".join(LINE.sub("", page) for page in pages) == book(1, 25_000)
    assert [(line[1], line[2], line[3]) for line in lines if line] == [
        ("0", "8,000", "25,000"),
        ("8,000", "16,000", "25,000"),
        ("16,000", "24,000", "25,000"),
        ("24,000", "25,000", "25,000"),
    ]
    assert lines[-1]
    assert lines[-1][5] == "This is its end."
    assert run.receipt.steps == 5 + 4
    assert (await here.runs.receipt(run_id)).path == "generate > read_book > (generate > read_more)*3 > generate"
    for before, after in zip(stage.requests, stage.requests[1:], strict=False):
        assert after.prompt_ids[: len(before.prompt_ids)] == before.prompt_ids


async def test_each_page_is_a_free_step_and_hardly_any_history(here: Bench, stage: Stage) -> None:
    stage.plays(reader(2, 200_000))
    run_id = await here.start("read", {"show": 20_000})
    run = await here.runs.wait(run_id)
    assert result_of(run)[0] == "That was all."
    rows = [row for row in await here.charges() if row.workflow_id == run_id]
    assert [(row.kind, row.name, row.outcome, row.cost_nano) for row in rows if row.kind == "tool"] == [
        ("tool", "read_book", "used", 0),
        *[("tool", "read_more", "used", 0)] * 9,
    ]
    description = await here.client.get_workflow_handle(run_id).describe()
    assert description.raw_description.workflow_execution_info.history_size_bytes < 200_000


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ({"result": "00000000", "offset": 0}, "error: no result is called '00000000': there is '{name}'"),
        ({"result": "{name}", "offset": 9_000}, "error: the input of tool 'read_more' is invalid: offset 9,000 is"),
        ({"result": "{name}", "offset": -1}, "error: the input of tool 'read_more' is invalid: offset: Input should"),
        ({"result": "{name}", "page": 2}, "error: the input of tool 'read_more' is invalid: page: Extra inputs"),
    ],
)
async def test_what_is_not_there_is_said_to_the_model(
    here: Bench, stage: Stage, call: dict[str, JsonValue], told: str
) -> None:
    names: list[str] = []

    def script(request: ScriptedRequest) -> Reply:
        if request.step == 0:
            return CallTool("read_book", number=3, size=9_000)
        if request.step == 1:
            names.append(MORE.findall(request.last_message)[0][0])
            return CallTool(
                "read_more", **{key: names[0] if value == "{name}" else value for key, value in call.items()}
            )
        return Say("Well.")

    stage.plays(script)
    assert (await here.run("read", {"show": 2_000})).status is RunStatus.COMPLETED
    assert stage.requests[-1].request.last_message.startswith(told.replace("{name}", names[0]))


async def test_a_result_of_another_conversation_is_not_there(here: Bench, stage: Stage) -> None:
    stage.plays(reader(4, 3_000))
    await here.run("read", {"show": 2_000})
    name = MORE.findall(stage.requests[1].request.last_message)[0][0]
    stage.plays([CallTool("look_at", what="x"), CallTool("read_more", result=name, offset=0), Say("no")])
    await here.run("read", {"show": 2_000})
    assert stage.requests[-1].request.last_message == f"error: no result is called '{name}': there is none yet"


async def test_a_result_that_fits_is_shown_as_ever(here: Bench, stage: Stage) -> None:
    """The prompt is, to the token, the one without a limit; but for the tool that is offered."""
    stage.plays([CallTool("look_at", what="the sky"), Say("High.")])
    await here.run("glance", {})
    await here.run("glance", {"show": 1_000_000})
    stage.plays([CallTool("look_at", what="the sky"), Say("High.")])
    await here.run("glance", {"show": 1_000_000})
    plain, limited = stage.requests[1], stage.requests[-1]
    assert limited.prompt_ids == plain.prompt_ids
    assert "read_more" not in plain.prompt
    stage.plays([CallTool("read_book", number=5, size=1_000), Say("High.")])
    await here.run("read", {"show": 1_000})
    assert stage.requests[-1].request.last_message == book(5, 1_000)


@pytest.mark.parametrize(
    ("workflow", "show", "offered"), [("glance", 2_000, True), ("glance", SHOW, False), ("read", SHOW, True)]
)
async def test_reading_on_is_offered_where_a_tool_may_return_more(
    here: Bench, stage: Stage, workflow: str, show: int, offered: bool
) -> None:
    stage.plays([Say("ok")])
    await here.run(workflow, {"show": show})
    assert ('"name": "read_more"' in stage.requests[0].prompt) is offered


async def test_it_goes_by_characters_not_by_bytes(here: Bench, stage: Stage) -> None:
    stage.plays([CallTool("look_at", what="ä", times=900), Say("High.")])
    await here.run("glance", {"show": 1_000})
    assert stage.requests[-1].request.last_message.startswith("ä" * 900 + " is")
    stage.plays([CallTool("look_at", what="ä", times=1_100), Say("High.")])
    await here.run("glance", {"show": 1_000})
    assert stage.requests[-1].request.last_message.startswith("ä" * 1_000 + "\n[characters 0 to 1,000 of 1,1")


async def test_a_tool_of_that_name_is_refused_where_it_would_be_confused(here: Bench, stage: Stage) -> None:
    run = await here.run("impose", {})
    assert run.status is RunStatus.FAILED
    assert "tool 'read_more': the conversation has a tool of this name of its own" in str(run.error)
    stage.plays([CallTool("read_more", result="mine"), Say("ok")])
    await here.run("impose", {"show": 10_000_000})
    assert stage.requests[-1].request.last_message == "mine"


async def test_too_small_a_page_is_refused(here: Bench) -> None:
    run = await here.run("glance", {"show": 999})
    assert run.status is RunStatus.FAILED
    assert "show: 999 characters of a result are too few to read it by. Give 1,000 or more." in str(run.error)
