"""The values that a server is given and nobody else may see."""

import os
from collections.abc import Mapping

from pydantic import SecretStr

from orchestrator.errors import ConfigurationError
from orchestrator.toolservers import FromEnvironment, MCPServer, Secret

__all__ = ["Secrets"]

SHORTEST = 4
"""Characters; hiding shorter ones would garble texts and hide nothing."""
HIDDEN = "***"


class Secrets:
    """A server's environment and headers in plain text, and how to keep them out of texts.

    Raises:
        ConfigurationError: a variable that the server needs isn't set here.
    """

    def __init__(self, server: MCPServer) -> None:
        self.env = _plain(server, server.env)
        self.headers = _plain(server, server.headers)
        found: set[str] = set()
        for given, plain in ((server.env, self.env), (server.headers, self.headers)):
            for name, value in plain.items():
                if not isinstance(given[name], str):
                    # Of "Bearer abc" a server may well repeat the "abc" alone.
                    found |= {value, value.split(" ")[-1]}
        self._found = sorted((value for value in found if len(value) >= SHORTEST), key=len, reverse=True)

    def hidden(self, text: str) -> str:
        """The text without the secrets."""
        for value in self._found:
            text = text.replace(value, HIDDEN)
        return text


def _plain(server: MCPServer, values: Mapping[str, Secret]) -> dict[str, str]:
    return {name: _revealed(server, value) for name, value in values.items()}


def _revealed(server: MCPServer, value: Secret) -> str:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case FromEnvironment():
            found = os.environ.get(value.variable)
            if found is None:
                raise ConfigurationError(
                    f"the environment variable {value.variable} isn't set, which tool server {server.name!r} needs",
                    remedy="Set it for the workers that run the app's tools.",
                )
            return f"{value.prefix}{found}"
        case str():
            return value
