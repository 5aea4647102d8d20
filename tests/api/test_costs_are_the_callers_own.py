from decimal import Decimal

import pytest

from orchestrator.ledger import CostReport
from orchestrator.usage import Usage
from tests.api.client import ApiClient
from tests.bench import Bench
from tests.reports.rows import MARCH, Rows


@pytest.fixture(scope="module", autouse=True)
async def ledger(here: Bench) -> None:
    """Runs of long ago: two of the caller's tenant, one of another's."""
    rows = Rows()
    rows.charge(rows.run("old", tenant="default"), Usage(prompt=100))
    rows.charge(rows.run("older", tenant="default"), Usage(prompt=1000))
    rows.charge(rows.run("old", tenant="stranger"), Usage(prompt=10_000))
    rows.window(idle_us=1000, pool="nobodys")
    await rows.add(here.database)


async def asked(client: ApiClient, **query: str) -> CostReport:
    response = await client.http.get("/v1/costs", params=query)
    assert response.status_code == 200, response.text
    return CostReport.model_validate(response.json())


async def test_a_tenant_sees_its_own(client: ApiClient) -> None:
    report = await asked(client, since="2026-03-01", until="2026-03-02")
    assert [(line.group, line.cost) for line in report.lines] == [
        ({"workflow": "older"}, Decimal("0.002")), ({"workflow": "old"}, Decimal("0.0002")),
    ]  # fmt: skip
    assert (report.total.cost, report.total.idle, report.since) == (Decimal("0.0022"), 0, MARCH)
    by_tenant = await asked(client, by="tenant", until="2026-03-02")
    assert [line.group for line in by_tenant.lines] == [{"tenant": "default"}]


async def test_money_is_text_in_json(client: ApiClient) -> None:
    response = await client.http.get("/v1/costs", params={"until": "2026-03-02", "workflow": "old"})
    assert response.json()["total"]["cost"] == "0.000200000"


async def test_what_runs_now_is_in_it(client: ApiClient) -> None:
    await client.ended(await client.started("add_up", {"first": 1}))
    report = await asked(client, by="model", since="1h")
    assert {"kind": "tool", "name": "add", "pool": None} in [line.group for line in report.lines]


@pytest.mark.parametrize(
    ("query", "status", "kind", "says"),
    [
        ({"by": "colour"}, 422, "invalid-request", "query by"),
        ({"since": "soon"}, 422, "invalid-period", "since is 'soon', no moment"),
        ({"since": "1d", "until": "2d"}, 422, "invalid-period", "not after since"),
        ({"book": "none"}, 404, "unknown-name", "no price book is called 'none'"),
        ({"workflow": "x" * 300}, 422, "invalid-request", "query workflow"),
        ({"book": "\x00"}, 422, "invalid-request", "query book"),
    ],
)
async def test_a_wrong_question_is_a_problem(
    client: ApiClient, query: dict[str, str], status: int, kind: str, says: str
) -> None:
    response = await client.http.get("/v1/costs", params=query)
    assert (response.status_code, response.json()["type"]) == (status, f"/problems/{kind}")
    assert response.headers["content-type"] == "application/problem+json"
    assert says in response.json()["detail"]
