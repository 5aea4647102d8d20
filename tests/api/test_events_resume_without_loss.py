import anyio

from tests.api.client import ApiClient


async def test_a_stream_tells_all_steps_and_ends_with_the_run(client: ApiClient) -> None:
    run_id = await client.started("add_up", {"first": 1})
    events = [event async for event in client.events(run_id)]
    steps = ["step.started", "step.completed"] * 3
    assert [kind for _, kind, _ in events] == ["run.started", *steps, "run.completed"]
    assert all((str(data["id"]), data["type"]) == (place, kind) for place, kind, data in events)
    assert {data.get("name") for _, kind, data in events if kind.startswith("step")} == {"add"}


async def test_a_stream_cut_anywhere_goes_on_where_it_was(client: ApiClient) -> None:
    run_id = await client.started("add_up", {"first": 1})
    whole = [event async for event in client.events(run_id)]
    for cut in range(1, len(whole)):
        before = await client.first_events(run_id, cut)
        after = [event async for event in client.events(run_id, last_event_id=before[-1][0])]
        assert before + after == whole


async def test_a_stream_of_a_run_that_goes_on_is_resumed(client: ApiClient) -> None:
    run_id = await client.started("wait_long", 1)
    before = await client.first_events(run_id, 2)
    between = await client.first_events(run_id, 1, last_event_id=before[-1][0])
    await client.http.post(f"/v1/runs/{run_id}/cancel")
    after = [event async for event in client.events(run_id, last_event_id=between[-1][0])]
    assert [kind for _, kind, _ in before + between + after] == [
        "run.started",
        "step.started",
        "step.completed",
        "run.cancelled",
    ]
    assert before + between + after == [event async for event in client.events(run_id)]


async def test_after_is_what_the_first_connection_says(client: ApiClient) -> None:
    run_id = await client.started("add_up", {"first": 1})
    first, second, *_ = whole = [event async for event in client.events(run_id)]
    path = f"{run_id}/events?after={first[0]}"
    response = await client.http.get(f"/v1/runs/{path}")
    assert response.text.startswith(f"id: {second[0]}\r\n")
    response = await client.http.get(f"/v1/runs/{path}", headers={"Last-Event-ID": whole[-2][0]})
    assert response.text.startswith(f"id: {whole[-1][0]}\r\n")


async def test_a_client_that_has_all_is_told_not_to_come_back(client: ApiClient) -> None:
    run_id = await client.started("add_up", {"first": 1})
    *_, last = [event async for event in client.events(run_id)]
    response = await client.http.get(f"/v1/runs/{run_id}/events", headers={"Last-Event-ID": last[0]})
    assert (response.status_code, response.content) == (204, b"")


async def test_a_silent_stream_says_that_it_lives(client: ApiClient) -> None:
    run_id = await client.started("wait_long", 1)
    after = (await client.first_events(run_id, 3))[-1][0]
    async with client.http.stream("GET", f"/v1/runs/{run_id}/events", params={"after": after}) as response:
        with anyio.fail_after(10):
            assert (await anext(response.aiter_lines())).startswith(": ping")
