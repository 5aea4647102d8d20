from uuid import uuid4

from tests.api.client import ApiClient


async def test_the_same_request_is_answered_with_the_same_run(client: ApiClient) -> None:
    key = uuid4().hex
    first = await client.start("wait_long", 1, key=key)
    again = await client.start("wait_long", 1, key=key)
    assert (again.status_code, again.json()) == (202, first.json())


async def test_the_answer_says_how_the_run_stands(client: ApiClient) -> None:
    key = uuid4().hex
    run_id = (await client.start("add_up", {"first": 1}, key=key)).json()["run_id"]
    await client.ended(run_id)
    again = await client.start("add_up", {"first": 1}, key=key)
    assert again.json() == {"run_id": run_id, "status": "completed"}


async def test_another_input_is_a_conflict(client: ApiClient) -> None:
    key = uuid4().hex
    run_id = (await client.start("wait_long", 1, key=key)).json()["run_id"]
    conflict = await client.start("wait_long", 2, key=key)
    assert conflict.status_code == 409
    problem = conflict.json()
    assert (problem["type"], problem["key"], problem["run_id"]) == ("/problems/idempotency-conflict", key, run_id)


async def test_another_workflow_is_a_conflict(client: ApiClient) -> None:
    key = uuid4().hex
    await client.start("fail", "why", key=key)
    assert (await client.start("add_up", {"first": 1}, key=key)).status_code == 409


async def test_without_a_key_each_request_starts_a_run(client: ApiClient) -> None:
    assert await client.started("wait_long", 1) != await client.started("wait_long", 1)
