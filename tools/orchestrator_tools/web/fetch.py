"""Fetches a page from where it may, and from nowhere else.

A host is resolved once, every address of it is checked, and an address that was checked is what is connected to; what
the name resolves to by then doesn't matter. The name still goes into TLS and into the `Host` header.
"""

import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import anyio
import httpx
from pydantic import BaseModel, ConfigDict

from orchestrator.errors import InvalidInput, ToolFailed
from orchestrator_tools.web.addresses import PUBLIC, Addresses
from orchestrator_tools.web.allowed import NAME, TOOL, Allowed
from orchestrator_tools.web.body import ENCODINGS, decoded, is_text, read
from orchestrator_tools.web.readable import Readable, readable

__all__ = ["Fetcher", "Page", "Resolver", "resolve"]

Resolver = Callable[[str], Awaitable[Sequence[str]]]
"""Gives the addresses of a host."""

HOPS = 5
"""Redirects that are followed."""
TRIED = 3
"""Addresses of one host that are tried."""
CONNECT = 5.0
HEADERS = {
    "user-agent": "reasoning-orchestrator",
    "accept": "text/html, text/*;q=0.9, application/json;q=0.9, */*;q=0.1",
    "accept-encoding": ENCODINGS,
    "connection": "close",
}
MAX_TITLE = 200
_HTML = ("text/html", "application/xhtml+xml")
_REDIRECTS = (301, 302, 303, 307, 308)
_BUSY = (408, 425, 429)


class Page(BaseModel):
    """What stands at a URL, as text."""

    model_config = ConfigDict(frozen=True)

    url: str
    """Where it was found, after redirects."""
    status: int
    title: str = ""
    text: str
    next_start: int | None = None
    """Where to read on, if there is more."""
    note: str | None = None
    """What else there is to know: that the page is longer than was read of it."""


@dataclass(frozen=True, kw_only=True)
class _Answer:
    status: int
    content_type: str
    location: str | None = None
    body: bytes = b""
    cut: bool = False


async def resolve(host: str) -> Sequence[str]:
    """The addresses of a host, by the system's own resolver."""
    found = await anyio.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Fetcher:
    """Fetches pages of allowed hosts.

    Args:
        allow: see `Allowed`.
        max_bytes: of a page that are read, both packed and unpacked.
        timeout: of a page, redirects included.
        addresses: that may be connected to.
        resolver: how hosts are resolved.
        tls: whom to trust; by default, who is trusted on the web.
    """

    def __init__(
        self,
        allow: Iterable[str],
        *,
        max_bytes: int,
        timeout: timedelta,
        addresses: Addresses = PUBLIC,
        resolver: Resolver = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.allowed = Allowed(allow)
        self._max_bytes = max_bytes
        self._timeout = timeout
        self._addresses = addresses
        self._resolver = resolver
        self._given_tls = tls

    async def fetch(self, url: str, *, start: int = 0, characters: int = 10_000, links: bool = False) -> Page:
        """A page's text.

        Args:
            url: of the page.
            start: character of its text to begin with.
            characters: to give.
            links: whether the addresses of links stand in the text.

        Raises:
            InvalidInput: the URL, or one that it redirects to, may not be asked for, or there is no text.
            ToolFailed: the host can't be reached, is too slow or too busy, or breaks off.
        """
        try:
            with anyio.fail_after(self._timeout.total_seconds()):
                found, answer = await self._follow(url)
        except (TimeoutError, httpx.TimeoutException) as error:
            seconds = self._timeout.total_seconds()
            raise ToolFailed(TOOL, f"{url!r} couldn't be read within {seconds:g} s") from error
        except httpx.HTTPError as error:
            raise ToolFailed(TOOL, f"{url!r} couldn't be read ({type(error).__name__}: {error})") from error
        if answer.status in _BUSY or answer.status >= 500:
            raise ToolFailed(TOOL, f"the server of {str(found)!r} answered {answer.status}")
        page = await anyio.to_thread.run_sync(_readable, answer, str(found), links)
        if start > len(page.text):
            raise InvalidInput(NAME, f"start={start} is past the end of the text, at {len(page.text)}")
        end = start + characters
        return Page(
            url=str(found),
            status=answer.status,
            title=page.title[:MAX_TITLE],
            text=page.text[start:end],
            next_start=end if end < len(page.text) else None,
            note=f"the page is longer: only its first {self._max_bytes:,} bytes were read" if answer.cut else None,
        )

    async def _follow(self, asked: str) -> tuple[httpx.URL, _Answer]:
        url, hops = self.allowed.parse(asked), 0
        answer = await self._get(url)
        while answer.location is not None:
            if hops == HOPS:
                raise InvalidInput(NAME, f"{asked!r} redirects more than {HOPS} times")
            hops += 1
            try:
                url = self.allowed.parse(_joined(url, answer.location))
                answer = await self._get(url)
            except InvalidInput as error:
                raise InvalidInput(NAME, f"{asked!r} redirects, and {error.problem}") from error
        return url, answer

    async def _get(self, url: httpx.URL) -> _Answer:
        host = url.raw_host.decode("ascii").removesuffix(".")
        failed: Exception | None = None
        for address in await self._addresses_of(host):
            try:
                return await self._get_from(address, host, url)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failed = error
        raise ToolFailed(TOOL, f"no connection to {host!r} ({failed})") from failed

    async def _addresses_of(self, host: str) -> Sequence[str]:
        try:
            addresses = await self._resolver(host)
        except OSError as error:
            raise ToolFailed(TOOL, f"{host!r} has no address ({error})") from error
        if not addresses:
            raise ToolFailed(TOOL, f"{host!r} has no address")
        if not all(address in self._addresses for address in addresses):
            raise InvalidInput(NAME, f"{host!r} has an address that is not public")
        return addresses[:TRIED]

    async def _get_from(self, address: str, host: str, url: httpx.URL) -> _Answer:
        port = "" if url.port is None else f":{url.port}"
        headers = {"host": f"[{host}]{port}" if ":" in host else f"{host}{port}", **HEADERS}
        # A client of its own, without a pool or cookies, so that nothing of one host gets to another at its address.
        async with (
            httpx.AsyncClient(verify=self._tls, trust_env=False, timeout=self._timeouts) as client,
            client.stream(
                "GET",
                url.copy_with(host=address),
                headers=headers,
                extensions={"sni_hostname": host},
                follow_redirects=False,
            ) as response,
        ):
            return await self._answer(response)

    async def _answer(self, response: httpx.Response) -> _Answer:
        status, content_type = response.status_code, response.headers.get("content-type", "")
        location = response.headers.get("location") if status in _REDIRECTS else None
        if location is not None or status in _BUSY or status >= 500:
            return _Answer(status=status, content_type=content_type, location=location)
        if not is_text(content_type):
            raise InvalidInput(NAME, f"what is there is no text but {content_type!r}")
        encoding = response.headers.get("content-encoding", "")
        body, cut = await read(response.aiter_raw(), encoding=encoding, most=self._max_bytes)
        return _Answer(status=status, content_type=content_type, body=body, cut=cut)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return httpx.create_ssl_context() if self._given_tls is None else self._given_tls

    @property
    def _timeouts(self) -> httpx.Timeout:
        return httpx.Timeout(self._timeout.total_seconds(), connect=CONNECT)


def _joined(url: httpx.URL, location: str) -> str:
    try:
        return str(url.join(location))
    except (httpx.InvalidURL, ValueError) as error:
        raise InvalidInput(NAME, f"{location[:200]!r} is no URL ({error})") from error


def _readable(answer: _Answer, url: str, links: bool) -> Readable:
    text = decoded(answer.body, answer.content_type)
    if answer.content_type.partition(";")[0].strip().lower() in _HTML:
        return readable(text, base=url, links=links)
    return Readable(title="", text=text)
