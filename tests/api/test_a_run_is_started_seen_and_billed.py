import anyio

from orchestrator.runs import RunSummary
from orchestrator.steps import RunStatus
from tests.api.client import ApiClient


async def test_a_run_completes_with_result_receipt_and_bill(client: ApiClient) -> None:
    response = await client.start("add_up", {"first": 1, "second": 2})
    run_id = response.json()["run_id"]
    assert response.status_code == 202
    assert response.json() == {"run_id": run_id, "status": "running"}
    assert response.headers["location"] == f"/v1/runs/{run_id}"

    run = await client.ended(run_id)
    assert run.status is RunStatus.COMPLETED
    assert run.result == {"total": 9}
    assert run.closed_at is not None
    assert run.receipt.steps == 3
    assert [(line.kind, line.name, line.receipt.attempts) for line in run.bill] == [("tool", "add", 3)]


async def test_a_failed_run_says_why(client: ApiClient) -> None:
    run = await client.ended(await client.started("fail", "no luck"))
    assert run.status is RunStatus.FAILED
    assert run.error is not None
    assert run.error.type == "ValueError"
    assert "no luck" in run.error.message
    assert run.result is None


async def test_runs_are_listed_the_latest_first(client: ApiClient) -> None:
    started = [await client.started("wait_long", hours) for hours in (1, 2)]
    listed: list[RunSummary] = []
    with anyio.fail_after(30):
        while [run.run_id for run in listed] != started[::-1]:
            response = await client.http.get("/v1/runs", params={"limit": 2})
            listed = [RunSummary.model_validate(run) for run in response.json()["runs"]]
    assert {(run.workflow, run.status, run.cost) for run in listed} == {("wait_long", RunStatus.RUNNING, 0)}


async def test_cancel_ends_a_run_that_waits(client: ApiClient) -> None:
    run_id = await client.started("wait_long", 100)
    await client.first_events(run_id, 3)
    response = await client.http.post(f"/v1/runs/{run_id}/cancel")
    assert (response.status_code, response.content) == (202, b"")
    assert response.headers["location"] == f"/v1/runs/{run_id}"
    assert (await client.ended(run_id)).status is RunStatus.CANCELLED


async def test_cancelling_a_run_that_has_ended_changes_nothing(client: ApiClient) -> None:
    run_id = await client.started("add_up", {"first": 1})
    before = await client.ended(run_id)
    assert (await client.http.post(f"/v1/runs/{run_id}/cancel")).status_code == 202
    assert await client.run(run_id) == before
