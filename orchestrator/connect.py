"""How the product reaches Temporal: by Temporal's own configuration, with our payloads and search attributes."""

from collections.abc import Sequence
from typing import Any

import anyio
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.plugin import SimplePlugin
from temporalio.service import RPCError

from orchestrator.errors import ConfigurationError
from orchestrator.execution import COST_USD, TENANT, TOKENS
from orchestrator.standing import WAITING

__all__ = ["SEARCH_ATTRIBUTES", "connect", "ensure_search_attributes"]

SEARCH_ATTRIBUTES = {
    TENANT.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    COST_USD.name: IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE,
    TOKENS.name: IndexedValueType.INDEXED_VALUE_TYPE_INT,
    WAITING.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
}
ATTEMPTS = 20
PAUSE = 0.25


async def connect(plugins: Sequence[SimplePlugin], *, address: str | None = None) -> Client:
    """A client of the Temporal that is configured (`TEMPORAL_ADDRESS`, ... or Temporal's TOML file), or at `address`.

    Raises:
        ConfigurationError: nobody answers there.
    """
    config: dict[str, Any] = {**ClientConfig.load_client_connect_config()}
    if address is not None:
        config["target_host"] = address
    target = config.setdefault("target_host", "localhost:7233")
    for attempt in range(ATTEMPTS):
        try:
            return await Client.connect(**config, plugins=plugins)
        except RuntimeError as error:
            # A server that has just opened its port answers "Frontend is not healthy yet".
            if attempt == ATTEMPTS - 1 or "not healthy" not in str(error):
                raise ConfigurationError(
                    f"no Temporal server answers at {target} ({str(error).splitlines()[0]})",
                    remedy="Start one with 'orchestrator dev', or set TEMPORAL_ADDRESS.",
                ) from error
            await anyio.sleep(PAUSE)
    raise AssertionError("unreachable")


async def ensure_search_attributes(client: Client) -> None:
    """Adds our search attributes where the namespace lacks them: without, every run would stall at its end.

    Raises:
        ConfigurationError: they are missing and may not be added.
    """
    listing = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    missing = {name: kind for name, kind in SEARCH_ATTRIBUTES.items() if name not in listing.custom_attributes}
    if not missing:
        return
    try:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=client.namespace, search_attributes=missing)
        )
    except RPCError as error:
        commands = " ".join(f"--name {name} --type {IndexedValueType.Name(kind)}" for name, kind in missing.items())
        raise ConfigurationError(
            f"namespace {client.namespace!r} lacks search attributes that can't be added ({error.message})",
            remedy=f"Ask its operator for: temporal operator search-attribute create {commands}",
        ) from error
