"""A conversation that is compacted goes on with a summary in place of its older part, which is kept."""

import re
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import JsonValue
from temporalio.worker import Replayer

from orchestrator.compacting import Compacting, Extent
from orchestrator.errors import DefinitionError
from orchestrator.steps import RunStatus
from orchestrator.testing import CallTool, Reply, Say, ScriptedRequest
from orchestrator.testing.requests import RequestRecord
from tests.bench import Bench, result_of
from tests.conversations.program import app

if TYPE_CHECKING:
    from tests.conversations.conftest import Stage
else:
    Stage = Any

WANTED = "Write a summary"
QUESTIONS: list[JsonValue] = ["How high is A?", "How high is B?", "How high is C?", "How high is D?"]


def answers(request: ScriptedRequest) -> Reply:
    if WANTED in request.last_message:
        return Say("A is 1 and B is 2.")
    return Say(f"On {request.last_message.rpartition(chr(10))[2]} I say {request.number}.")


def said(record: RequestRecord) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in record.request.messages]


async def test_and_the_last_turns_stay_word_for_word(here: Bench, stage: Stage) -> None:
    stage.plays(answers)
    talked = result_of(await here.run("talk", {"say": QUESTIONS, "compact_after": 3}))
    first, second, third, summary, last = stage.requests
    assert said(summary)[:-1] == [*said(third), ("assistant", third.output)]
    assert summary.prompt_ids[: len(third.prompt_ids)] == third.prompt_ids, "a fork, whose prefix is hot"
    assert summary.cached_tokens >= len(third.prompt_ids)
    (system, *_), (role, content), *tail = said(first)[:1], *said(last)[1:]
    assert said(last)[0] == system
    assert (role, content) == (
        "user",
        "The beginning of this conversation is no longer shown. This is its summary:\nA is 1 and B is 2.\n\n"
        "How high is C?",
    )
    assert tail == [("assistant", third.output), ("user", "How high is D?")]
    (done,) = talked["compactions"]
    assert done["before"] == talked["refs"][2]
    assert done["after"] == talked["refs"][3] != talked["refs"][2]
    assert done["complete"]
    assert done["receipt"]["usage"]["output"] == summary.output_tokens
    assert talked["exact"] == [True, True, True, False]
    assert second.request.last_message == "How high is B?"


async def test_and_the_conversation_as_it_was_can_be_taken_up(here: Bench, stage: Stage) -> None:
    stage.plays(answers)
    talked = result_of(await here.run("talk", {"say": QUESTIONS[:3], "compact_after": 3}))
    third = stage.requests[2]
    await here.run("resume", {"ref": talked["compactions"][0]["before"], "tools": ["look_at"]})
    assert said(stage.requests[-1])[:-1] == [*said(third), ("assistant", third.output)]


async def test_the_summary_is_told_what_to_keep(here: Bench, stage: Stage) -> None:
    stage.plays(answers)
    await here.run("talk", {"say": QUESTIONS[:3], "compact_after": 3, "instructions": "Keep every height."})
    wanted = stage.requests[3].request.last_message
    for what in ("goals", "decisions", "exact numbers", "results of tools", "open questions", "Keep every height."):
        assert what in wanted
    assert "The last exchange stays in sight" in wanted


async def test_nothing_is_kept_but_the_summary_where_that_is_wanted(here: Bench, stage: Stage) -> None:
    stage.plays(answers)
    await here.run("talk", {"say": QUESTIONS[:3], "compact_after": 2, "keep_last": 0})
    assert said(stage.requests[-1])[1:] == [
        (
            "user",
            "The beginning of this conversation is no longer shown. This is its summary:\nA is 1 and B is 2.\n\n"
            "How high is C?",
        )
    ]


async def test_where_there_is_no_older_part_nothing_happens(here: Bench, stage: Stage) -> None:
    stage.plays(answers)
    run = await here.run("talk", {"say": QUESTIONS[:2], "compact_after": 2, "keep_last": 2})
    assert result_of(run)["compactions"] == [{}]
    assert run.receipt.steps == 2


async def test_an_empty_summary_changes_nothing(here: Bench, stage: Stage) -> None:
    stage.plays(lambda request: Say("" if WANTED in request.last_message else "yes"))
    run = await here.run("talk", {"say": QUESTIONS[:2], "compact_after": 2})
    assert run.status is RunStatus.FAILED
    assert "no valid summary: it is empty" in str(run.error)


async def test_one_that_was_cut_off_says_so(here: Bench, stage: Stage) -> None:
    stage.plays(lambda request: Say("long " * 100 if WANTED in request.last_message else "yes"))
    run = await here.run("talk", {"say": QUESTIONS[:2], "compact_after": 2, "summary_tokens": 10})
    assert not result_of(run)["compactions"][0]["complete"]


def climber(steps: int) -> Any:
    """A model that looks at one thing after the other."""

    def script(request: ScriptedRequest) -> Reply:
        if WANTED in request.last_message:
            return Say("We climbed.")
        seen = [int(found) for found in re.findall(r"step (\d+)", request.prompt)]
        if max(seen, default=0) < steps:
            return CallTool("look_at", what=f"step {max(seen, default=0) + 1}")
        return Say("I am at the top.")

    return script


async def test_by_itself_where_it_grows_too_long(here: Bench, stage: Stage) -> None:
    stage.plays(climber(16))
    run_id = await here.start("climb", {"say": ["Climb!"], "compact_at": 420, "keep_last": 2})
    run = await here.runs.wait(run_id)
    assert result_of(run)[0] == "I am at the top."
    summaries = [place for place, record in enumerate(stage.requests) if WANTED in record.prompt]
    assert len(summaries) >= 2
    for place in summaries:
        before, after = stage.requests[place - 1], stage.requests[place + 1]
        assert before.request.prompt_tokens + before.output_tokens >= 420
        assert after.request.prompt_tokens < 420
    assert max(record.request.prompt_tokens for record in stage.requests) < 420 + 250
    history = await here.client.get_workflow_handle(run_id).fetch_history()
    await Replayer(workflows=[], plugins=[app.plugin()]).replay_workflow(history)


async def test_no_call_is_parted_from_its_result(here: Bench, stage: Stage) -> None:
    stage.plays(climber(9))
    await here.run("climb", {"say": ["Climb!"], "compact_at": 420, "keep_last": 0})
    place = next(place for place, record in enumerate(stage.requests) if WANTED in record.prompt)
    _, (_, summary), *tail = said(stage.requests[place + 1])
    assert summary == (
        "The beginning of this conversation is no longer shown. This is its summary:\nWe climbed.\n\n"
        "The question that is being answered:\nClimb!"
    )
    assert [role for role, _ in tail] == ["assistant", "tool"]
    assert re.findall(r"step \d+", tail[0][1]) == re.findall(r"step \d+", tail[1][1])


async def test_the_question_outlives_several_compactions(here: Bench, stage: Stage) -> None:
    stage.plays(climber(20))
    await here.run("climb", {"say": ["Climb!"], "compact_at": 380, "keep_last": 1})
    summaries = [record for record in stage.requests if "This is its summary" in record.prompt]
    assert len({said(record)[1][1] for record in summaries}) == 1
    assert all("The question that is being answered:\nClimb!" in record.prompt for record in summaries)
    assert sum(WANTED in record.prompt for record in stage.requests) >= 2


async def test_names_of_calls_stay_unique(here: Bench, stage: Stage) -> None:
    from orchestrator.messages import AssistantMessage
    from orchestrator.transcripts import TranscriptStore

    stage.plays(climber(12))
    _, ref = result_of(await here.run("climb", {"say": ["Climb!"], "compact_at": 420, "keep_last": 3}))
    chain = await TranscriptStore(here.database).chain(ref)
    names = [
        call.id for node in chain if isinstance(node.message, AssistantMessage) for call in node.message.tool_calls
    ]
    assert len(names) == len(set(names)) > 3


async def test_not_out_of_what_is_kept_for_the_answer(here: Bench, stage: Stage) -> None:
    stage.plays(climber(50))
    value: dict[str, Any] = {
        "say": ["Climb!"],
        "compact_at": 210,
        "keep_last": 1,
        "max_tokens": 48,
        "summary_tokens": 16,
    }
    run = await here.run("climb_cheaply", value)
    assert run.status is RunStatus.COMPLETED, run.error
    prompts = [record.prompt for record in stage.requests]
    assert "The budget is used up." in prompts[-1]
    assert any(WANTED in prompt for prompt in prompts), "as long as there was enough"
    closing = next(place for place, prompt in enumerate(prompts) if "The budget is used up." in prompt)
    assert not any(WANTED in prompt for prompt in prompts[closing:])
    assert run.receipt.usage.total <= 2_000


async def test_a_summary_that_cannot_be_paid_for_is_done_without(here: Bench, stage: Stage) -> None:
    stage.plays(answers)
    value = {"compact_at": 200, "keep_last": 1, "max_tokens": 16, "summary_tokens": 1_000}
    run = await here.run("talk_cheaply", {"say": ["a" * 400, "b" * 400, "c"], **value})
    assert run.status is RunStatus.COMPLETED, run.error
    assert len(result_of(run)) == 3
    assert not any(WANTED in record.prompt for record in stage.requests)


async def test_once_for_all_drafts_of_a_thought(here: Bench, stage: Stage) -> None:
    def script(request: ScriptedRequest) -> Reply:
        return Say("We counted." if WANTED in request.last_message else "It is 42.")

    stage.plays(script)
    long = [letter * 400 for letter in "abc"]
    run_id = await here.start("ponder", {"say": [*long, "How many?"], "compact_at": 450, "keep_last": 1})
    value, thought, whole, _ = result_of(await here.runs.wait(run_id))
    assert value == 42
    assert sum(WANTED in record.prompt for record in stage.requests) == 2, "and once more at the end"
    drafts = [record for record in stage.requests if record.request.last_message == "How many?"]
    assert len(drafts) >= 2
    assert all("This is its summary:\nWe counted." in record.prompt for record in drafts)
    outputs = sum(record.output_tokens for record in stage.requests[:-1])
    assert whole["usage"]["output"] == outputs
    assert thought["usage"]["output"] == outputs - sum(record.output_tokens for record in stage.requests[:3])


async def test_in_each_draft_that_grows_too_long(here: Bench, stage: Stage) -> None:
    top = climber(9)

    def script(request: ScriptedRequest) -> Reply:
        reply = top(request)
        return reply if reply != Say("I am at the top.") else Say("It is 42.")

    stage.plays(script)
    run_id = await here.start("ponder", {"say": ["How many?"], "compact_at": 450, "keep_last": 1})
    value, thought, _, goes_on = result_of(await here.runs.wait(run_id))
    assert value == 42
    assert goes_on, "the conversation is as long as the draft that it goes on from"
    assert sum(WANTED in record.request.last_message for record in stage.requests) >= 2
    assert thought["usage"]["output"] == sum(record.output_tokens for record in stage.requests[:-1])
    rows = [row for row in await here.charges() if row.workflow_id == run_id and row.kind == "generate"]
    assert sum(row.output_tokens for row in rows[:-1]) == thought["usage"]["output"]
    history = await here.client.get_workflow_handle(run_id).fetch_history()
    await Replayer(workflows=[], plugins=[app.plugin()]).replay_workflow(history)


def test_a_long_tail_is_not_summed_up_at_each_reply() -> None:
    compacting = Compacting(100)
    extent = Extent(tokens=120)
    assert extent.is_due(compacting)
    extent = extent.compacted(4).after([], 110)
    assert not extent.is_due(compacting)
    assert not extent.after([], 137).is_due(compacting)
    assert extent.after([], 138).is_due(compacting)
    shorter = Extent(tokens=120).compacted(4).after([], 60)
    assert not shorter.after([], 99).is_due(compacting)
    assert shorter.after([], 100).is_due(compacting)


@pytest.mark.parametrize(("at", "keep_last", "problem"), [(0, 1, "0 tokens are none"), (1, -1, "-1 turns are none")])
def test_what_makes_no_sense_is_refused(at: int, keep_last: int, problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem):
        Compacting(at, keep_last=keep_last)
