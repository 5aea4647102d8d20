"""`http_get` against real servers on loopback, which is granted here as a company would grant its own network.

No test switches a check off: names are resolved by a resolver that is handed in, and `127.0.0.1` is a network that is
granted by its address. The rest of loopback and everything else that is private stays refused.
"""

import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

import pytest
import trustme

from orchestrator.errors import InvalidInput, ToolFailed
from orchestrator_tools.web import Addresses, Fetcher, Resolver
from tests.tools.site import Site, answer, site

pytestmark = pytest.mark.allow_hosts(["127.0.0.1", "127.0.0.2", "127.0.0.3"])

LOOPBACK = "127.0.0.1"
HOST = "pages.example"


class Names:
    """A resolver that answers what it is told, and remembers what it was asked."""

    def __init__(self, addresses: Mapping[str, Sequence[str] | Iterator[Sequence[str]]]) -> None:
        self._addresses = addresses
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        found = self._addresses.get(host, ())
        return next(found) if isinstance(found, Iterator) else found


def _fetcher(
    up: Site,
    *,
    names: Resolver | None = None,
    granted: Sequence[str] = (f"{LOOPBACK}/32",),
    hosts: Sequence[str] = (HOST,),
    **more: Any,
) -> Fetcher:
    return Fetcher(
        [f"{host}:{up.port}" for host in hosts],
        max_bytes=more.pop("max_bytes", 100_000),
        timeout=more.pop("timeout", timedelta(seconds=5)),
        addresses=Addresses(granted),
        resolver=names or Names({host: [LOOPBACK] for host in hosts}),
        **more,
    )


async def test_a_page_is_what_the_server_says() -> None:
    async with site({"/a?b=c": answer("Hello, wörld")}) as up:
        page = await _fetcher(up).fetch(f"http://{HOST}:{up.port}/a?b=c#part")
    assert page.model_dump(exclude_defaults=True) == {
        "url": f"http://{HOST}:{up.port}/a?b=c",
        "status": 200,
        "text": "Hello, wörld",
    }
    assert up.requests[0]["host"] == f"{HOST}:{up.port}"
    assert not {"cookie", "authorization", "referer"} & up.requests[0].keys()


async def test_a_page_that_is_not_there_is_read_too() -> None:
    async with site({}) as up:
        page = await _fetcher(up).fetch(f"http://{HOST}:{up.port}/")
    assert (page.status, page.text) == (404, "not here")


@pytest.mark.parametrize("status", ["500 Oh", "503 Busy", "429 Slowly", "408 Late"])
async def test_a_server_that_is_busy_is_asked_again_by_the_step(status: str) -> None:
    async with site({"/": answer("x", status=status)}) as up:
        with pytest.raises(ToolFailed, match=f"answered {status[:3]}") as caught:
            await _fetcher(up).fetch(f"http://{HOST}:{up.port}/")
    assert caught.value.retryable


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.2"],
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::"],
        ["fe80::1%lo"],
        ["0.0.0.0"],
        ["not an address"],
        [LOOPBACK, "10.0.0.1"],
        ["1.1.1.1", "::1"],
    ],
)
async def test_a_name_with_an_address_that_is_not_public_is_refused(addresses: Sequence[str]) -> None:
    async with site({"/": answer("secret")}) as up:
        with pytest.raises(InvalidInput, match=r"'pages\.example' has an address that is not public"):
            await _fetcher(up, names=Names({HOST: addresses})).fetch(f"http://{HOST}:{up.port}/")
    assert up.requests == []


@pytest.mark.parametrize("host", ["127.0.0.2", "[::1]", "10.0.0.1", "169.254.169.254", "[::ffff:7f00:1]"])
async def test_an_address_that_is_not_public_is_refused_even_where_every_host_is_allowed(host: str) -> None:
    fetcher = Fetcher(["*"], max_bytes=1000, timeout=timedelta(seconds=1))
    with pytest.raises(InvalidInput, match="has an address that is not public"):
        await fetcher.fetch(f"http://{host}/")


@pytest.mark.parametrize("host", ["localhost", "localhost.", "LOCALHOST"])
async def test_the_systems_own_names_for_loopback_are_refused(host: str) -> None:
    fetcher = Fetcher(["*"], max_bytes=1000, timeout=timedelta(seconds=5))
    with pytest.raises(InvalidInput, match="'localhost' has an address that is not public"):
        await fetcher.fetch(f"http://{host}/")


async def test_a_name_is_resolved_once_so_that_it_can_not_change_its_mind() -> None:
    """DNS rebinding. The second address is granted here, so that nothing but the one resolution keeps it from use."""
    names = Names({HOST: iter([[LOOPBACK], ["127.0.0.2"], ["127.0.0.2"]])})
    async with site({"/": answer("good")}) as good, _twin(good.port) as bad:
        fetcher = _fetcher(good, names=names, granted=["127.0.0.0/30"])
        assert (await fetcher.fetch(f"http://{HOST}:{good.port}/")).text == "good"
        assert names.asked == [HOST]
        assert (len(good.requests), len(bad.requests)) == (1, 0)
        assert (await fetcher.fetch(f"http://{HOST}:{good.port}/")).text == "bad"


def _twin(port: int) -> AbstractAsyncContextManager[Site]:
    """Another site, at the same port of another loopback address."""
    return site({"/": answer("bad")}, host="127.0.0.2", port=port)


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:{port}/secret",
        "http://127.0.0.2:{port}/secret",
        "http://localhost:{port}/secret",
        "http://[::1]:{port}/secret",
        "http://169.254.169.254/latest/meta-data/",
        "http://2130706433:{port}/secret",
        "http://inside.example:{port}/secret",
        "//inside.example:{port}/secret",
        "http://user:password@pages.example:{port}/secret",
        "http://pages.example/secret",
        "http://other.example:{port}/secret",
        "file:///etc/passwd",
        "gopher://127.0.0.1:{port}/_GET%20/secret",
        "http://[broken",
    ],
)
async def test_a_redirect_is_checked_like_the_first_url(location: str) -> None:
    names = Names({HOST: [LOOPBACK], "inside.example": ["10.0.0.1"], "other.example": [LOOPBACK]})
    answers: dict[str, bytes] = {"/secret": answer("secret")}
    async with site(answers) as up:
        answers["/"] = answer("", status="302 Found", location=location.format(port=up.port))
        fetcher = _fetcher(up, names=names, hosts=[HOST, "inside.example"])
        with pytest.raises(InvalidInput, match=f"'http://{HOST}:{up.port}/' redirects, and "):
            await fetcher.fetch(f"http://{HOST}:{up.port}/")
    assert up.paths == ["/"]


async def test_a_redirect_to_no_url_is_a_failure() -> None:
    async with site({"/": answer("", status="302 Found", location="http://pages.example:1:2/")}) as up:
        with pytest.raises(ToolFailed, match="Invalid URL in location header"):
            await _fetcher(up).fetch(f"http://{HOST}:{up.port}/")


async def test_a_name_that_changes_its_mind_between_hops_is_refused() -> None:
    names = Names({HOST: iter([[LOOPBACK], ["10.0.0.1"]])})
    async with site({"/": answer("", status="301 Moved", location="/secret"), "/secret": answer("secret")}) as up:
        with pytest.raises(InvalidInput, match=r"redirects, and 'pages\.example' has an address that is not public"):
            await _fetcher(up, names=names).fetch(f"http://{HOST}:{up.port}/")
    assert (up.paths, names.asked) == (["/"], [HOST, HOST])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_that_may_be_are_followed(status: int) -> None:
    answers = {f"/{n}": answer("", status=f"{status} Go", location=f"{n + 1}", set_cookie="a=b") for n in range(5)}
    async with site({**answers, "/5": answer("found")}) as up:
        page = await _fetcher(up).fetch(f"http://{HOST}:{up.port}/0")
    assert (page.url, page.text) == (f"http://{HOST}:{up.port}/5", "found")
    assert all("cookie" not in request for request in up.requests)


async def test_redirects_without_end_are_refused() -> None:
    async with site({"/": answer("", status="302 Found", location="/")}) as up:
        with pytest.raises(InvalidInput, match="redirects more than 5 times"):
            await _fetcher(up).fetch(f"http://{HOST}:{up.port}/")
    assert len(up.requests) == 6


async def test_the_next_address_is_tried_where_one_does_not_answer() -> None:
    async with site({"/": answer("here")}) as up:
        names = Names({HOST: ["127.0.0.3", LOOPBACK]})
        fetcher = _fetcher(up, names=names, granted=["127.0.0.0/30"])
        assert (await fetcher.fetch(f"http://{HOST}:{up.port}/")).text == "here"


async def test_a_host_that_is_not_there_is_a_failure_that_may_pass() -> None:
    async with site({}) as up:
        pass
    with pytest.raises(ToolFailed, match=r"no connection to 'pages\.example'"):
        await _fetcher(up).fetch(f"http://{HOST}:{up.port}/")

    async def nobody(host: str) -> Sequence[str]:
        raise OSError("Name or service not known")

    with pytest.raises(ToolFailed, match=r"'pages\.example' has no address"):
        await _fetcher(up, names=nobody).fetch(f"http://{HOST}:{up.port}/")
    with pytest.raises(ToolFailed, match=r"'pages\.example' has no address"):
        await _fetcher(up, names=Names({})).fetch(f"http://{HOST}:{up.port}/")


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site({"/": answer("direct")}) as up:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{up.port}/proxy")
        assert (await _fetcher(up).fetch(f"http://{HOST}:{up.port}/")).text == "direct"
    assert up.paths == ["/"]


Trust = Callable[[str], tuple[ssl.SSLContext, ssl.SSLContext]]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trust(authority: trustme.CA) -> Trust:
    """For a server of a name: its TLS, and that of a client that trusts it."""

    def of(name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(server)  # pyright: ignore[reportUnknownMemberType]
        client = ssl.create_default_context()
        authority.configure_trust(client)  # pyright: ignore[reportUnknownMemberType]
        return server, client

    return of


async def test_tls_is_with_the_name_and_not_with_the_address(trust: Trust) -> None:
    server, client = trust(HOST)
    async with site({"/": answer("private")}, tls=server) as up:
        page = await _fetcher(up, tls=client).fetch(f"https://{HOST}:{up.port}/")
    assert (page.text, page.url) == ("private", f"https://{HOST}:{up.port}/")
    assert up.names == [HOST]
    assert up.requests[0]["host"] == f"{HOST}:{up.port}"


async def test_a_certificate_of_another_name_is_refused(trust: Trust) -> None:
    server, client = trust("other.example")
    async with site({"/": answer("private")}, tls=server) as up:
        with pytest.raises(ToolFailed, match="Hostname mismatch"):
            await _fetcher(up, tls=client).fetch(f"https://{HOST}:{up.port}/")
    assert up.requests == []


async def test_a_certificate_that_nobody_vouches_for_is_refused(trust: Trust) -> None:
    server, _ = trust(HOST)
    async with site({"/": answer("private")}, tls=server) as up:
        with pytest.raises(ToolFailed, match=r"unable to get local issuer certificate|self.signed"):
            await _fetcher(up).fetch(f"https://{HOST}:{up.port}/")
    assert up.requests == []
