"""What the model may call: by the tool's effect, by what was granted, or by what a person says."""

import json
from typing import Any

import pytest

from orchestrator import Approvals, Orchestrator
from orchestrator.errors import DefinitionError, IdempotencyConflict, InvalidAnswer, UnknownName
from orchestrator.questions import CUT, Verdict
from orchestrator.steps import RunStatus
from tests.bench import Bench
from tests.eventually import eventually
from tests.human.people import answer, asked, events_of
from tests.human.program import refund

REFUND: tuple[str, dict[str, Any]] = ("refund", {"order": "7", "dollars": 5})
DONE = "refunded 5 for 7"


def wish(*calls: tuple[str, dict[str, Any]]) -> str:
    return json.dumps(calls)


async def _served(here: Bench, run_id: str) -> str:
    """What the tools told the model."""
    run = await here.runs.wait(run_id)
    assert run.status is RunStatus.COMPLETED, run.error
    return str(run.result)


async def test_a_person_says_yes(here: Bench) -> None:
    run_id = await here.start("serve", wish(REFUND))
    (question,) = await asked(here, run_id)
    assert question.text == "May refund be called? Refund an order."
    assert (question.tool, json.loads(question.arguments or "")) == REFUND
    assert question.summary == 'May refund be called? Refund an order. refund({"order": "7", "dollars": 5})'
    assert (await here.runs.run(run_id)).status is RunStatus.PAUSED
    assert await answer(here, run_id, question.id, "yes", by="Ada")
    assert await _served(here, run_id) == DONE
    assert (await here.runs.receipt(run_id)).path == "generate > ask_human > refund > generate"
    events = await events_of(here, run_id)
    assert [(event.type, event.name) for event in events] == [("question.asked", None), ("question.answered", "Ada")]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("no", "error: refused by a person. Tool 'refund' wasn't called: go on without it"),
        (False, "error: refused by a person. Tool 'refund' wasn't called: go on without it"),
        (
            {"decision": "no", "reason": "too much"},
            "error: refused by a person: too much. Tool 'refund' wasn't called: go on without it",
        ),
        (True, DONE),
        (" Yes ", DONE),
        ({"decision": "always"}, DONE),
    ],
)
async def test_the_model_is_told_what_a_person_says(here: Bench, given: Any, told: str) -> None:
    run_id = await here.start("serve", wish(REFUND))
    (question,) = await asked(here, run_id)
    nonsenses: list[Any] = ["maybe", 5, None, {"decision": "yes", "reasons": ""}, {"reason": "x"}]
    for nonsense in nonsenses:
        with pytest.raises(InvalidAnswer):
            await answer(here, run_id, question.id, nonsense)
    await answer(here, run_id, question.id, given)
    assert await _served(here, run_id) == told
    bought = [line.name for line in (await here.runs.run(run_id)).bill if line.kind == "tool"]
    assert bought == (["refund"] if told == DONE else [])


async def test_always_is_for_this_tool_in_this_run_and_below(here: Bench) -> None:
    run_id = await here.start("serve_below", wish(REFUND, REFUND, ("look", {"page": 1})))
    first, second = await asked(here, run_id, 2)
    assert {question.tool for question in (first, second)} == {"refund"}
    await answer(here, run_id, second.id, "always")
    run = await here.runs.wait(run_id)
    assert run.result == [f"{DONE} | {DONE} | page 1"] * 2
    ends = [event.summary for event in await events_of(here, run_id) if event.type == "question.answered"]
    assert ends == ["always", "always"]
    other = await here.start("serve", wish(REFUND))
    await asked(here, other)


async def test_yes_is_for_one_call(here: Bench) -> None:
    run_id = await here.start("serve", wish(REFUND, REFUND))
    first, second = await asked(here, run_id, 2)
    await answer(here, run_id, first.id, "yes")
    assert [question.id for question in await asked(here, run_id, 1)] == [second.id]
    await answer(here, run_id, second.id, {"decision": "no", "reason": "once is enough"})
    assert (await _served(here, run_id)).startswith(f"{DONE} | error: refused by a person: once is enough.")


async def test_nobody_approves_in_time(here: Bench) -> None:
    run_id = await here.start("spy", wish(("peek", {"page": 1})))
    told = "error: refused: nobody approved it within 1 s. Tool 'peek' wasn't called: go on without it"
    assert await _served(here, run_id) == told
    events = await events_of(here, run_id)
    assert [(event.type, event.name) for event in events] == [
        ("question.asked", "security"),
        ("question.timed_out", None),
    ]


async def test_what_is_granted_is_not_asked(here: Bench) -> None:
    assert await _served(here, await here.start("serve", wish(("note", {"text": "x"}), ("look", {"page": 2})))) == (
        "noted | page 2"
    )
    assert await _served(here, await here.start("serve_freely", wish(REFUND))) == DONE
    assert await _served(here, await here.start("serve", wish(REFUND), grants=["refund"])) == DONE
    below = await here.runs.wait(await here.start("serve_below", wish(REFUND), grants=["refund"]))
    assert below.result == [DONE, DONE]
    assert (await here.run("refund_myself", "7")).result == DONE


async def test_what_a_definition_grants_is_not_handed_on(here: Bench) -> None:
    run_id = await here.start("freely_then_below", wish(REFUND))
    (question,) = await asked(here, run_id)
    assert question.workflow == "serve"


async def test_a_refusal_by_policy_stands_above_grants(here: Bench) -> None:
    run_id = await here.start("serve", wish(("delete", {"order": "7"})), grants=["delete"])
    told = "error: refused: in this app the model may not call it. Tool 'delete' wasn't called: go on without it"
    assert await _served(here, run_id) == told


async def test_nobody_is_bothered_with_a_call_that_cannot_be_made(here: Bench) -> None:
    run_id = await here.start("serve", wish(("refund", {"order": "7"}), ("refunds", {})))
    told = await _served(here, run_id)
    assert "the input of tool 'refund' is invalid: dollars: Field required" in told
    assert "no tool is called 'refunds'" in told
    assert await events_of(here, run_id) == []


async def test_long_arguments_are_cut_where_many_are_shown(here: Bench) -> None:
    order = "7" * 3_000
    run_id = await here.start("serve", wish(("refund", {"order": order, "dollars": 1})))
    (question,) = await asked(here, run_id)
    assert order in (question.arguments or "")

    async def is_listed() -> bool:
        listed = [each for each in await here.runs.inbox.all(tenant=None, limit=1000) if each.run_id == run_id]
        return [(each.is_cut, len(each.arguments or "") < CUT + 100) for each in listed] == [(True, True)]

    await eventually(is_listed)


async def test_a_grant_of_what_is_not_there_is_refused(here: Bench) -> None:
    with pytest.raises(UnknownName, match="no tool is called 'refnd': did you mean 'refund'"):
        await here.start("serve", wish(REFUND), grants=["refnd"])


async def test_another_grant_under_the_same_key_is_a_conflict(here: Bench) -> None:
    key = "grants-are-part-of-the-request"
    first = await here.start("serve", wish(REFUND), grants=["refund", "note"], idempotency_key=key)
    assert await here.start("serve", wish(REFUND), grants=["note", "refund"], idempotency_key=key) == first
    with pytest.raises(IdempotencyConflict):
        await here.start("serve", wish(REFUND), idempotency_key=key)


def test_mistakes_in_a_definition_are_refused_where_they_are_written() -> None:
    app = Orchestrator("mistaken")
    with pytest.raises(DefinitionError, match="its grants are one string"):
        app.workflow(grants="refund")(_serves)
    with pytest.raises(DefinitionError, match=r"it can't be 'perhaps'\. Choose one of ask, grant, refuse"):
        app.tool(effect="write", approval="perhaps")(refund.function)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Input should be 'ask', 'grant' or 'refuse'"):
        Approvals(write="perhaps")  # type: ignore[arg-type]
    app.workflow(grants=[refund])(_serves)
    with pytest.raises(UnknownName, match="no tool is called 'refund'"):
        app.plugin()


async def _serves(ctx: Any, wish: str) -> str:
    """A workflow."""
    return wish


def test_the_schema_of_a_verdict_says_that_a_word_will_do() -> None:
    word, truth, whole = Verdict.model_json_schema()["anyOf"]
    assert word == {"type": "string", "enum": ["yes", "always", "no"]}
    assert truth == {"type": "boolean"}
    assert set(whole["properties"]) == {"decision", "reason"}
