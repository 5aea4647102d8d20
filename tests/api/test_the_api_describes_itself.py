import json
from decimal import Decimal
from importlib.metadata import version
from typing import Any

from orchestrator import Budget
from orchestrator.steps import RunStatus
from tests.api.client import ApiClient
from tests.api.program import app

ROUTES = {
    ("/v1/workflows", "get"),
    ("/v1/workflows/{name}/runs", "post"),
    ("/v1/runs", "get"),
    ("/v1/runs/{run_id}", "get"),
    ("/v1/runs/{run_id}/receipt", "get"),
    ("/v1/runs/{run_id}/cancel", "post"),
    ("/v1/runs/{run_id}/top-up", "post"),
    ("/v1/costs", "get"),
    ("/v1/quotes", "get"),
    ("/v1/quotes", "post"),
    ("/v1/images", "post"),
    ("/v1/questions", "get"),
    ("/v1/runs/{run_id}/questions", "get"),
    ("/v1/runs/{run_id}/questions/{question}", "post"),
    ("/v1/runs/{run_id}/events", "get"),
    ("/healthz", "get"),
    ("/readyz", "get"),
}


async def document(client: ApiClient) -> dict[str, Any]:
    response = await client.http.get("/openapi.json")
    return dict(response.json())


async def test_workflows_are_listed_with_their_schemas(client: ApiClient) -> None:
    listed = {item["name"]: item for item in (await client.http.get("/v1/workflows")).json()["workflows"]}
    assert list(listed) == ["add_up", "wait_long", "fail"]
    signature = app.find_workflow("add_up").signature
    assert listed["add_up"] == {
        "name": "add_up",
        "app": "arithmetic",
        "description": "Add numbers up.\n\nThree times, to take several steps.",
        "input_schema": signature.input_schema,
        "output_schema": signature.output_schema,
        "budget": json.loads(Budget(usd=Decimal("0.05")).model_dump_json()),
    }
    assert listed["wait_long"]["budget"] is None


async def test_every_route_is_documented(client: ApiClient) -> None:
    described = await document(client)
    assert described["info"]["version"] == version("reasoning-orchestrator")
    operations = {
        (path, method): operation for path, item in described["paths"].items() for method, operation in item.items()
    }
    assert set(operations) == ROUTES
    assert all(operation["summary"] and operation["description"] for operation in operations.values())


async def test_problems_are_documented_where_they_may_come(client: ApiClient) -> None:
    described = await document(client)
    start = described["paths"]["/v1/workflows/{name}/runs"]["post"]["responses"]
    assert set(start) == {"202", "400", "404", "409", "413", "415", "422", "default"}
    for item in described["paths"].values():
        for operation in item.values():
            for status, response in operation["responses"].items():
                if status == "default" or status >= "400":
                    schema = response["content"]["application/problem+json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/Problem"}
                    assert list(response["content"]) == ["application/problem+json"]
    assert "HTTPValidationError" not in described["components"]["schemas"]


async def test_states_and_events_are_documented(client: ApiClient) -> None:
    described = await document(client)
    assert described["components"]["schemas"]["RunStatus"]["enum"] == list(RunStatus)
    watched = described["paths"]["/v1/runs/{run_id}/events"]["get"]["responses"]["200"]["content"]
    assert watched == {"text/event-stream": {"schema": {"$ref": "#/components/schemas/RunEvent"}}}
    assert "RunEvent" in described["components"]["schemas"]


async def test_there_is_a_page_for_people(client: ApiClient) -> None:
    assert "/openapi.json" in (await client.http.get("/docs")).text
