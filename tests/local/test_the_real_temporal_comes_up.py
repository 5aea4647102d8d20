import sqlite3
from pathlib import Path

import httpx
import pytest
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from orchestrator.connect import SEARCH_ATTRIBUTES
from orchestrator.local import TemporalServer

TENANT = SearchAttributeKey.for_keyword("Tenant")


async def _search_attributes(address: str) -> dict[str, int]:
    client = await Client.connect(address)
    reply = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace="default"))
    return dict(reply.custom_attributes)


async def test_it_has_the_search_attributes(temporal_address: str) -> None:
    assert await _search_attributes(temporal_address) == SEARCH_ATTRIBUTES


async def test_it_comes_up_again_on_the_same_file_with_what_it_had(tmp_path: Path) -> None:
    server = TemporalServer(log=tmp_path / "temporal.log", db_file=tmp_path / "state" / "temporal.db", ui=False)
    async with server.start() as running:
        client = await Client.connect(running.address)
        await client.start_workflow(
            "anything",
            id="kept",
            task_queue="nobody",
            search_attributes=TypedSearchAttributes([SearchAttributePair(TENANT, "acme")]),
        )
    async with server.start() as running:
        client = await Client.connect(running.address)
        assert await _search_attributes(running.address) == SEARCH_ATTRIBUTES
        description = await client.get_workflow_handle("kept").describe()
        assert description.typed_search_attributes[TENANT] == "acme"


async def test_a_database_of_another_make_gets_the_search_attributes(tmp_path: Path) -> None:
    """They must not depend on who created the namespace."""
    server = TemporalServer(log=tmp_path / "temporal.log", db_file=tmp_path / "temporal.db", tuned=False)
    async with server.start() as running:
        assert await _search_attributes(running.address) == SEARCH_ATTRIBUTES
        assert running.ui is not None
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(running.ui, follow_redirects=True)).is_success


async def test_its_file_is_in_wal_mode(tmp_path: Path) -> None:
    file = tmp_path / "temporal.db"
    async with TemporalServer(log=tmp_path / "temporal.log", db_file=file, ui=False).start():
        connection = sqlite3.connect(file)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.close()


@pytest.mark.parametrize(("tuned", "flags"), [(True, 9), (False, 0)])
def test_a_stock_server_has_no_dynamic_configuration(tmp_path: Path, tuned: bool, flags: int) -> None:
    server = TemporalServer(log=tmp_path / "log", db_file=None, tuned=tuned, dynamic_config=("a=1",))
    command = server.command(Path("temporal"), port=1, ui_port=2)
    assert command.count("--dynamic-config-value") == flags + 1
