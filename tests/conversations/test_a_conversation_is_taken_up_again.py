"""A reference is all that is handed on: whoever takes the conversation up again goes on with its very tokens."""

from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.steps import RunStatus
from orchestrator.testing import CallTool, Say
from tests.bench import Bench, result_of

if TYPE_CHECKING:
    from tests.conversations.conftest import Stage
else:
    Stage = Any


async def test_by_the_run_that_goes_on(here: Bench, stage: Stage) -> None:
    stage.plays(lambda request: Say(f"reply {request.number}"))
    run = await here.run("relay", {"left": 3})
    handed = result_of(run)
    assert handed["exact"] == [True] * 3
    assert len(stage.requests) == 3
    for before, after in zip(stage.requests, stage.requests[1:], strict=False):
        tokens = [*before.prompt_ids, *before.output_ids]
        assert after.prompt_ids[: len(tokens)] == tokens
        assert after.cached_tokens >= len(tokens) - 1
    assert [message.text for message in stage.requests[-1].request.messages if message.role == "user"] == [
        f"{left} to go." for left in (3, 2, 1)
    ]


async def test_with_the_tools_and_results_that_it_had(here: Bench, stage: Stage) -> None:
    stage.plays([Say("ready")])
    ref = result_of(await here.run("relay", {"left": 1}))["ref"]
    stage.plays([CallTool("read_book", number=1, size=3_000), Say("read")])
    (_, later) = result_of(await here.run("resume", {"ref": ref, "tools": ["read_book", "look_at"]}))
    name = stage.requests[-1].request.last_message.partition("of result ")[2][:8]
    stage.plays([CallTool("read_more", result=name, offset=2_900), Say("done")])
    run = await here.run("resume", {"ref": later, "tools": ["read_book", "look_at"]})
    assert result_of(run)[0] == "done"
    assert stage.requests[-1].request.last_message.endswith(
        f"[characters 2,900 to 3,000 of 3,000 of result {name}. This is its end.]"
    )


async def test_by_a_child(here: Bench, stage: Stage) -> None:
    stage.plays([Say("ready"), Say("done")])
    ref = result_of(await here.run("relay", {"left": 1}))["ref"]
    run = await here.run("delegate", {"ref": ref, "tools": ["read_book", "look_at"]})
    assert result_of(run)[0] == "done"
    before, after = stage.requests
    assert after.prompt_ids[: len(before.prompt_ids)] == before.prompt_ids


async def test_with_its_length_known(here: Bench, stage: Stage) -> None:
    """So that it is compacted when it is due, in whatever run that is."""
    stage.plays(lambda request: Say("short" if "Write a summary" in request.last_message else "x" * 100))
    talked = result_of(await here.run("talk", {"say": list("abcdef")}))
    last = stage.requests[-1]
    tokens = last.request.prompt_tokens + last.output_tokens
    seen, ref = len(stage.requests), talked["refs"][-1]
    for at, summaries in ((tokens + 1, 0), (tokens, 1)):
        _, later = result_of(await here.run("resume", {"ref": ref, "tools": ["look_at"], "compact_at": at}))
        assert sum("Write a summary" in record.prompt for record in stage.requests[seen:]) == summaries
    seen = len(stage.requests)
    await here.run("resume", {"ref": later, "tools": ["look_at"], "compact_at": 10})
    assert len(stage.requests) == seen + 1, "it was compacted just now"


async def test_not_by_another_tenant(here: Bench, stage: Stage) -> None:
    stage.plays([Say("secret")])
    ref = result_of(await here.run("relay", {"left": 1}))["ref"]
    run_id = await here.runs.start("resume", {"ref": ref}, tenant="somebody-else")
    here.started.append(run_id)
    run = await here.runs.wait(run_id)
    assert run.status is RunStatus.FAILED
    assert f"no transcript is called '{ref}'" in str(run.error)
    assert len(stage.requests) == 1


@pytest.mark.parametrize("tools", [[], ["look_at"]])
async def test_not_with_other_tools(here: Bench, stage: Stage, tools: list[Any]) -> None:
    stage.plays([Say("ready")])
    ref = result_of(await here.run("relay", {"left": 1}))["ref"]
    run = await here.run("resume", {"ref": ref, "tools": tools})
    assert run.status is RunStatus.FAILED
    assert "the conversation offers the tools ['read_book', 'look_at'], and is given" in str(run.error)
