"""Questions over REST: seen, listed, answered, refused."""

import json
from typing import Any

import pytest
from pydantic import JsonValue

from orchestrator.steps import RunStatus
from tests.api.client import ApiClient
from tests.bench import Bench
from tests.eventually import eventually
from tests.human.people import asked
from tests.human.test_the_model_asks_before_it_writes import DONE, REFUND, wish


async def _post(client: ApiClient, run_id: str, question: str, body: JsonValue) -> tuple[int, Any]:
    response = await client.http.post(f"/v1/runs/{run_id}/questions/{question}", json=body)
    return response.status_code, response.json()


async def _open(client: ApiClient, here: Bench, run_id: str, count: int = 1) -> list[dict[str, Any]]:
    await asked(here, run_id, count)
    response = await client.http.get(f"/v1/runs/{run_id}/questions")
    assert response.status_code == 200, response.text
    return response.json()["questions"]


async def test_a_question_is_seen_answered_and_gone(client: ApiClient, here: Bench) -> None:
    run_id = await client.started("choose", ["a", "b"])
    (question,) = await _open(client, here, run_id)
    assert {name: question[name] for name in ("run_id", "workflow", "number", "text", "to", "choices", "until")} == {
        "run_id": run_id,
        "workflow": "choose",
        "number": 1,
        "text": "Which account?",
        "to": "billing",
        "choices": ["a", "b"],
        "until": None,
    }
    assert (await client.run(run_id)).status is RunStatus.PAUSED
    status, taken = await _post(client, run_id, question["id"], {"answer": "b", "by": "Ada"})
    assert (status, taken) == (200, {"run_id": run_id, "question": question["id"], "taken": True})
    assert (await client.ended(run_id)).result == "b"
    assert await _open(client, here, run_id, 0) == []
    told = [(kind, data) for _, kind, data in [event async for event in client.events(run_id)] if "question" in kind]
    assert [(kind, data["question"], data["name"], data["summary"]) for kind, data in told] == [
        ("question.asked", question["id"], "billing", "Which account?"),
        ("question.answered", question["id"], "Ada", "b"),
    ]


async def test_an_events_stream_tells_no_other_events_for_questions(client: ApiClient, here: Bench) -> None:
    run_id = await client.started("choose", ["a"])
    (question,) = await _open(client, here, run_id)
    await _post(client, run_id, question["id"], {"answer": "a"})
    kinds = [kind for _, kind, _ in [event async for event in client.events(run_id)]]
    assert kinds == ["run.started", "question.asked", "question.answered", "run.completed"]


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"answer": "c"}, 422, "invalid-answer"),
        ({"answer": None}, 422, "invalid-answer"),
        ({}, 422, "invalid-input"),
        ([], 422, "invalid-input"),
        ("a", 422, "invalid-input"),
        ({"answer": "a", "because": "b"}, 422, "invalid-input"),
        ({"answer": "a", "by": ""}, 422, "invalid-input"),
    ],
)
async def test_what_does_not_fit_is_a_problem_and_loses_nothing(
    client: ApiClient, here: Bench, body: JsonValue, status: int, kind: str
) -> None:
    run_id = await client.started("choose", ["a", "b"])
    before = await _open(client, here, run_id)
    code, problem = await _post(client, run_id, before[0]["id"], body)
    assert (code, problem["type"]) == (status, f"/problems/{kind}")
    assert await _open(client, here, run_id) == before


async def test_a_second_answer_is_a_conflict(client: ApiClient, here: Bench) -> None:
    run_id = await client.started("ask_all_kinds", "")
    (question, *_) = await _open(client, here, run_id, 4)
    assert (await _post(client, run_id, question["id"], {"answer": "first"}))[0] == 200
    status, problem = await _post(client, run_id, question["id"], {"answer": "second"})
    assert (status, problem["type"], problem["how"]) == (409, "/problems/question-closed", "answered")


async def test_what_is_not_there_is_unknown(client: ApiClient, here: Bench) -> None:
    run_id = await client.started("choose", ["a"])
    (question,) = await _open(client, here, run_id)
    assert (await client.http.get("/v1/runs/nobody/questions")).status_code == 404
    for run, name in ((run_id, "nothing"), ("nobody", question["id"])):
        status, problem = await _post(client, run, name, {"answer": "a"})
        assert (status, problem["type"]) == (404, "/problems/unknown-name")
    await _post(client, run_id, question["id"], {"answer": "a"})
    await client.ended(run_id)
    status, problem = await _post(client, run_id, question["id"], {"answer": "a"})
    assert (status, problem["type"]) == (409, "/problems/run-has-ended")


async def test_another_tenants_run_is_not_there(client: ApiClient, here: Bench) -> None:
    run_id = await here.runs.start("choose", ["a"], tenant="stranger")
    here.started.append(run_id)
    (question,) = await asked(here, run_id)
    assert (await client.http.get(f"/v1/runs/{run_id}/questions")).status_code == 404
    assert (await _post(client, run_id, question.id, {"answer": "a"}))[0] == 404
    assert await asked(here, run_id) == [question]

    async def others_are_listed() -> bool:
        return bool(await here.runs.inbox.all(tenant="stranger"))

    await eventually(others_are_listed)
    listed = (await client.http.get("/v1/questions", params={"limit": 1000})).json()["questions"]
    assert run_id not in {each["run_id"] for each in listed}


async def test_open_questions_of_all_runs_are_listed(client: ApiClient, here: Bench) -> None:
    run_id = await client.started("ask_all_kinds", "")
    await asked(here, run_id, 4)

    async def listed() -> bool:
        questions = (await client.http.get("/v1/questions", params={"limit": 1000})).json()["questions"]
        return [each["text"] for each in questions if each["run_id"] == run_id] == [
            "What is it called?",
            "Are you sure?",
            "Which colour?",
            "Which account?",
        ]

    await eventually(listed)
    some = (await client.http.get("/v1/questions", params={"to": "billing", "limit": 1000})).json()["questions"]
    assert [each["text"] for each in some if each["run_id"] == run_id] == ["Are you sure?"]
    assert (await client.http.get("/v1/questions", params={"limit": 0})).status_code == 422


async def test_a_run_below_is_asked_for_by_its_own_id(client: ApiClient, here: Bench) -> None:
    run_id = await client.started("delegate", ["a"])
    (question,) = await _open(client, here, run_id)
    below = question["run_id"]
    assert "/" in below
    assert await _open(client, here, below) == [question]
    assert (await _post(client, below, question["id"], {"answer": "a"}))[0] == 200
    assert (await client.ended(run_id)).result == "a"


async def test_a_header_grants_tools(client: ApiClient) -> None:
    path = "/v1/workflows/serve/runs"
    body = wish(REFUND)
    started = await client.http.post(path, json=body, headers={"Grants": "refund , note,"})
    assert (await client.ended(started.json()["run_id"])).result == DONE
    refused = await client.http.post(path, json=body, headers={"Grants": "refnd"})
    assert (refused.status_code, refused.json()["type"]) == (404, "/problems/unknown-name")
    assert refused.json()["name"] == "refnd"


async def test_a_refusal_says_why(client: ApiClient, here: Bench) -> None:
    run_id = await client.started("serve", wish(REFUND))
    (question,) = await _open(client, here, run_id)
    assert (question["tool"], json.loads(question["arguments"])) == REFUND
    body: JsonValue = {"answer": {"decision": "no", "reason": "too much"}}
    assert (await _post(client, run_id, question["id"], body))[0] == 200
    assert str((await client.ended(run_id)).result).startswith("error: refused by a person: too much.")
