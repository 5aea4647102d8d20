"""`GET /v1/runs/{run_id}/receipt`, in front of the real Temporal."""

from collections.abc import AsyncIterator

import httpx
import pytest
from sqlalchemy import update

from orchestrator.api import create_api
from orchestrator.database.tables import charges
from orchestrator.ledger import RunReceipt
from orchestrator.usage import Outcome
from tests.api.program import app
from tests.bench import Bench, bench
from tests.receipts.books import Books, sealed


@pytest.fixture
async def here(temporal_address: str, database_url: str) -> AsyncIterator[Bench]:
    async with bench([app], temporal=temporal_address, database_url=database_url, engine=None, workers=False) as made:
        yield made


@pytest.fixture
async def http(here: Bench) -> AsyncIterator[httpx.AsyncClient]:
    api = httpx.ASGITransport(create_api(here.runs, settings=here.settings))
    async with httpx.AsyncClient(transport=api, base_url="http://api") as made:
        yield made


async def test_a_receipt_is_the_whole_tree(here: Bench, http: httpx.AsyncClient) -> None:
    books = Books()
    books.run("a")
    books.charge("a", 1, outcome=Outcome.FAILED)
    books.charge(books.run("b", parent="a"))
    await books.write(here.database)
    made = await sealed(here.database, "a")
    assert made is not None
    response = await http.get("/v1/runs/a-w/receipt")
    assert response.status_code == 200
    body = response.json()
    assert (body["run_id"], body["fingerprint"], body["verification"]) == ("a-w", made.head, None)
    assert (body["receipt"]["cost"], body["receipt"]["waste"]) == ("0.000416000", "0.000208000")
    (attempt,) = body["steps"][0]["attempts"]
    assert (attempt["outcome"], attempt["prices"]["output"], attempt["rid"]) == ("failed", "8.000000000", "a-1-1")
    assert [child["run_id"] for child in body["children"]] == ["b-w"]
    assert RunReceipt.model_validate(body).own.attempts == 1


async def test_a_receipt_is_verified_on_demand(here: Bench, http: httpx.AsyncClient) -> None:
    books = Books()
    books.charge(books.run("a"))
    await books.write(here.database)
    await sealed(here.database, "a")
    assert (await http.get("/v1/runs/a-w/receipt?verify=true")).json()["verification"]["ok"] is True
    async with here.database.begin() as connection:
        await connection.execute(update(charges).values(server="elsewhere"))
    found = (await http.get("/v1/runs/a-w/receipt?verify=true")).json()["verification"]
    assert found["ok"] is False
    (broken,) = [item for check in found["checks"] for item in check["breaks"]]
    assert (broken["kind"], broken["run"], broken["seal"]) == ("row_changed", "a-w", 1)


async def test_another_tenants_run_is_not_found(here: Bench, http: httpx.AsyncClient) -> None:
    books = Books()
    books.charge(books.run("a", tenant="somebody-else"))
    await books.write(here.database)
    for name in ("a-w", "a", "none", "%00", "%ff"):
        response = await http.get(f"/v1/runs/{name}/receipt")
        assert (response.status_code, response.json()["type"]) == (404, "/problems/unknown-name")
        assert response.json()["known"] == []


async def test_a_run_without_a_paid_step_has_none_yet(here: Bench, http: httpx.AsyncClient) -> None:
    run_id = await here.start("add_up", {"first": 1})
    response = await http.get(f"/v1/runs/{run_id}/receipt")
    problem = response.json()
    assert (response.status_code, problem["type"], problem["run_id"]) == (404, "/problems/no-receipt-yet", run_id)
    assert run_id in problem["detail"]


async def test_what_is_asked_for_must_fit_its_schema(http: httpx.AsyncClient) -> None:
    response = await http.get("/v1/runs/a-w/receipt?verify=perhaps")
    assert (response.status_code, response.json()["type"]) == (422, "/problems/invalid-request")


async def test_rows_that_make_no_receipt_are_a_problem(here: Bench, http: httpx.AsyncClient) -> None:
    books = Books()
    books.charge(books.run("a"))
    await books.write(here.database)
    async with here.database.begin() as connection:
        await connection.execute(update(charges).values(outcome="gratis"))
    response = await http.get("/v1/runs/a-w/receipt")
    assert (response.status_code, response.json()["type"]) == (500, "/problems/damaged-ledger")


async def test_its_problems_are_documented(http: httpx.AsyncClient) -> None:
    described = (await http.get("/openapi.json")).json()
    operation = described["paths"]["/v1/runs/{run_id}/receipt"]["get"]
    assert set(operation["responses"]) == {"200", "404", "422", "500", "default"}
    assert "no-receipt-yet" in operation["responses"]["404"]["description"]
