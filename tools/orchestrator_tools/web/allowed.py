"""Which URLs may be asked for, by an allow-list of hosts. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address

import httpx

from orchestrator.errors import DefinitionError, InvalidInput

__all__ = ["NAME", "TOOL", "Allowed"]

TOOL = "http_get"
NAME = f"tool {TOOL!r}"
"""How errors call what asks."""
PORTS = {"http": 80, "https": 443}
MAX_URL = 2048

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?", re.ASCII)
_IPV6 = re.compile(r"[0-9a-f:]*:[0-9a-f:]*", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_PATTERN = re.compile(r"(\*\.)?([^*:/?#@\[\]\s]+)(?::([0-9]{1,5}))?")


@dataclass(frozen=True)
class _Pattern:
    host: str
    below: bool
    """Whether it stands for the names below this host, rather than for the host."""
    port: int | None

    def fits(self, host: str, port: int, usual: int) -> bool:
        named = host.endswith(f".{self.host}") if self.below else self.host in ("*", host)
        return named and port == (self.port or usual)


class Allowed:
    """An allow-list of hosts.

    Args:
        patterns: `example.org`, `*.example.org` for every name below it, or `*` for every public host; each at the
            usual ports, or at the one that it names, as in `example.org:8443`.

    Raises:
        DefinitionError: there is none, or one can't be read.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = tuple(_pattern(text) for text in patterns)
        if not self._patterns:
            raise DefinitionError(NAME, problem="it allows no host", remedy="Give allow=['example.org'], for one.")

    def parse(self, text: str) -> httpx.URL:
        """The URL, once it is found to be one that may be asked for.

        Raises:
            InvalidInput: it is none.
        """
        try:
            url = httpx.URL(text) if len(text) <= MAX_URL else None
        except (httpx.InvalidURL, ValueError) as error:  # of names that IDNA doesn't know
            raise InvalidInput(NAME, f"{text[:200]!r} is no URL ({error})") from error
        if url is None:
            raise InvalidInput(NAME, f"the URL has more than {MAX_URL:,} characters")
        if url.scheme not in PORTS:
            raise InvalidInput(NAME, f"{text!r} begins with neither https:// nor http://")
        if url.userinfo:
            raise InvalidInput(NAME, f"{text!r} holds a user's name or password")
        host = url.raw_host.decode("ascii")
        if not (_IPV6.fullmatch(host) or (_HOST.fullmatch(host) and len(host) <= 254 and _is_usual(host))):
            raise InvalidInput(NAME, f"{host!r} is neither a host's name nor an address as it is usually written")
        usual = PORTS[url.scheme]
        port = usual if url.port is None else url.port
        if not any(pattern.fits(host.removesuffix("."), port, usual) for pattern in self._patterns):
            raise InvalidInput(NAME, f"{host}:{port} is not among the hosts allowed ({self})")
        return url.copy_with(fragment=None)

    def __str__(self) -> str:
        return ", ".join(
            f"{'*.' if pattern.below else ''}{pattern.host}{f':{pattern.port}' if pattern.port else ''}"
            for pattern in self._patterns
        )


def _is_usual(host: str) -> bool:
    """Whether a host that ends in a number, so that resolvers take it for an IPv4 address, is one in four decimals."""
    if not _NUMBER.fullmatch(host.removesuffix(".").rpartition(".")[2]):
        return True
    try:
        return str(IPv4Address(host)) == host
    except AddressValueError:
        return False


def _pattern(text: str) -> _Pattern:
    if text == "*":
        return _Pattern("*", below=False, port=None)
    try:
        matched = _PATTERN.fullmatch(text)
        host = httpx.URL(f"http://{matched[2]}/").raw_host.decode("ascii").removesuffix(".") if matched else ""
    except (httpx.InvalidURL, ValueError):
        matched, host = None, ""
    port = int(matched[3]) if matched and matched[3] else None
    if matched is None or not _HOST.fullmatch(host) or not (port is None or 0 < port < 2**16):
        raise DefinitionError(
            NAME,
            problem=f"{text!r} in its allow-list is no host",
            remedy="Write 'example.org', '*.example.org' for the names below it, 'example.org:8443', or '*'.",
        )
    return _Pattern(host, below=matched[1] is not None, port=port)
