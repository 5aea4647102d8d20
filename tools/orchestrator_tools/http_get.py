"""Lets a model read web pages: those of the hosts that it is granted."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

from pydantic import Field

from orchestrator import Tool, ToolContext
from orchestrator_tools.shipped import shipped
from orchestrator_tools.web import Addresses, Fetcher, Page

__all__ = ["http_get"]

SLACK = timedelta(seconds=10)
"""What a page may take beside its timeout: to be made readable."""
BYTES_OF_A_CHARACTER = 6
"""In JSON, at most."""


def http_get(
    *,
    allow: Sequence[str],
    private: Sequence[str] = (),
    max_bytes: int = 1024 * 1024,
    max_text: int = 10_000,
    timeout: timedelta = timedelta(seconds=20),
) -> Tool[..., Page]:
    """A tool that reads web pages of granted hosts, and never anything that isn't public.

    `Orchestrator("research", tools=[http_get(allow=["*.wikipedia.org", "example.org"])])`.

    Args:
        allow: hosts: `example.org`, `*.example.org` for every name below it, or `*` for every public one; each at the
            usual ports, or at the one that it names, as in `example.org:8443`.
        private: networks that may be reached although they are not public, such as `10.1.0.0/16`.
        max_bytes: of a page that are read, both packed and unpacked.
        max_text: characters of its text that one call gives; the model may read on.
        timeout: of a page, redirects included.

    Raises:
        DefinitionError: `allow` or `private` can't be read.
    """
    fetcher = Fetcher(allow, max_bytes=max_bytes, timeout=timeout, addresses=Addresses(private))

    async def http_get(
        ctx: ToolContext,
        url: Annotated[str, Field(max_length=2048)],
        start: Annotated[int, Field(ge=0)] = 0,
        links: bool = False,
    ) -> Page:
        return await fetcher.fetch(url, start=start, characters=max_text, links=links)

    http_get.__doc__ = f"""Read a web page as text. Allowed hosts: {fetcher.allowed}.

    Args:
        url: of the page, with https://
        start: where in its text to begin; next_start of the page before, to read on
        links: whether to give the addresses of links
    """
    max_result = BYTES_OF_A_CHARACTER * max_text + 16 * 1024
    return shipped(effect="read", timeout=timeout + SLACK, max_result=max_result)(http_get)
