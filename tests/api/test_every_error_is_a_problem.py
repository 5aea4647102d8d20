from dataclasses import dataclass, field

import pytest

from tests.api.client import ApiClient

JSON = {"content-type": "application/json"}
START = "/v1/workflows/add_up/runs"


@dataclass(frozen=True, kw_only=True)
class Bad:
    """A request that is refused, and what is said of it."""

    method: str = "GET"
    path: str
    status: int
    type: str
    says: str
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict[str, str])


def post(content: bytes, status: int, kind: str, says: str, path: str = START, **headers: str) -> Bad:
    return Bad(
        method="POST", path=path, content=content, headers=headers or JSON, status=status, type=kind, says=says
    )  # fmt: skip


BODIES = {
    "broken JSON": post(b'{"first": ', 400, "malformed-body", "no JSON"),
    "no body": post(b"", 400, "malformed-body", "no JSON"),
    "NaN": post(b"NaN", 400, "malformed-body", "no JSON"),
    "half a surrogate pair": post(b'"\\ud800"', 400, "malformed-body", "no JSON"),
    "bytes that are no text": post(b'"\xff"', 400, "malformed-body", "no JSON"),
    "deep nesting": post(b"[" * 100_000, 400, "malformed-body", "no JSON"),
    "a body too large": post(b'"%s"' % (b"x" * 1_000_000), 413, "body-too-large", "1,000,000 bytes"),
    "a form": post(b"a=1", 415, "unsupported-media-type", "Content-Type", **{"content-type": "text/plain"}),
    "no content type": post(b"1", 415, "unsupported-media-type", "no declared type", **{"x-none": "1"}),
    "a field of another type": post(b'{"first": "x"}', 422, "invalid-input", "first: Input should be a valid integer"),
    "a field missing": post(b"{}", 422, "invalid-input", "first: Field required"),
    "an input of another type": post(b"[1]", 422, "invalid-input", "add_up"),
    "an unknown workflow": post(b"1", 404, "unknown-name", "did you mean 'add_up'?", "/v1/workflows/add_upp/runs"),
    "an empty key": post(
        b'{"first": 1}', 422, "invalid-request", "header Idempotency-Key", **JSON, **{"idempotency-key": ""}
    ),
}
OTHERS = {
    "an unknown run": Bad(path="/v1/runs/none", status=404, type="unknown-name", says="no run is called 'none'"),
    "an endless id": Bad(path=f"/v1/runs/{'x' * 5000}", status=404, type="unknown-name", says="no run is called"),
    "an id of control characters": Bad(path="/v1/runs/%00%0A", status=404, type="unknown-name", says="no run"),
    "an id that is no text": Bad(path="/v1/runs/%ff", status=404, type="unknown-name", says="no run"),
    "events of an unknown run": Bad(path="/v1/runs/none/events", status=404, type="unknown-name", says="no run"),
    "cancel of an unknown run": Bad(
        method="POST", path="/v1/runs/none/cancel", status=404, type="unknown-name", says="no run"
    ),
    "a malformed Last-Event-ID": Bad(
        path="/v1/runs/none/events", headers={"last-event-id": "x"}, status=400, type="malformed-event-id", says="'x'"
    ),
    "a negative Last-Event-ID": Bad(
        path="/v1/runs/none/events", headers={"last-event-id": "-1"}, status=400, type="malformed-event-id", says="'-1'"
    ),
    "a malformed after": Bad(
        path="/v1/runs/none/events?after=x", status=422, type="invalid-request", says="query after"
    ),
    "a limit too large": Bad(path="/v1/runs?limit=1000", status=422, type="invalid-request", says="query limit"),
    "an unknown route": Bad(path="/v2", status=404, type="not-found", says="there is no /v2"),
    "a slash too many": Bad(path="/v1/runs/", status=404, type="not-found", says="there is no /v1/runs/"),
    "a wrong method": Bad(
        method="DELETE", path="/v1/runs", status=405, type="method-not-allowed", says="doesn't take DELETE"
    ),
}  # fmt: skip


@pytest.mark.parametrize("bad", [pytest.param(bad, id=name) for name, bad in {**BODIES, **OTHERS}.items()])
async def test_every_refusal_is_a_problem(client: ApiClient, bad: Bad) -> None:
    response = await client.http.request(bad.method, bad.path, content=bad.content, headers=bad.headers)
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (response.status_code, problem["status"], problem["type"]) == (
        bad.status,
        bad.status,
        f"/problems/{bad.type}",
    )
    assert bad.says in problem["detail"]
    assert problem["title"]
    assert problem["instance"].startswith("/v")


async def test_a_problem_has_the_values_of_its_error(client: ApiClient) -> None:
    problem = (await client.start("add_upp", 1)).json()
    assert problem == {
        "type": "/problems/unknown-name",
        "title": "Unknown name",
        "status": 404,
        "detail": "no workflow is called 'add_upp': did you mean 'add_up'?",
        "instance": "/v1/workflows/add_upp/runs",
        "kind": "workflow",
        "name": "add_upp",
        "known": ["add_up", "fail", "wait_long"],
    }


async def test_a_wrong_method_is_told_the_right_one(client: ApiClient) -> None:
    assert (await client.http.put("/v1/runs")).headers["allow"] == "GET"
