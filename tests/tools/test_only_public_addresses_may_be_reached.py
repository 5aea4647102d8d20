from ipaddress import ip_network

import pytest

from orchestrator.errors import DefinitionError, InvalidInput
from orchestrator_tools.web import PUBLIC, Addresses, Allowed

REACHED = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.0.1",
    "172.32.0.1",
    "192.0.1.1",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001:800::200e",
    "2001:4860:4860::8888",
]
REFUSED = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",  # metadata
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",  # metadata
    "169.254.0.1",
    "169.254.169.254",  # metadata
    "169.254.170.2",  # metadata
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",  # metadata
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",  # IPv4-compatible
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",  # Teredo
    "2001:10::1",
    "2001:db8::1",
    "2002:7f00:1::1",  # 6to4 of 127.0.0.1
    "2002:a00:1::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",  # metadata
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1%eth0",
    "fec0::1",
    "ff02::1",
    "5f00::1",
]
ODD = ["", "localhost", "127.1", "0x7f.1", "0177.0.0.1", "2130706433", "1.1.1.1.", " 1.1.1.1", "1.1.1.1/32", "[::1]"]


@pytest.mark.parametrize("address", REACHED)
def test_a_public_address_may_be_reached(address: str) -> None:
    assert address in PUBLIC


@pytest.mark.parametrize("address", [*REFUSED, *ODD])
def test_any_other_may_not(address: str) -> None:
    assert address not in PUBLIC


def test_a_network_may_be_granted_and_only_that() -> None:
    granted = Addresses(["10.1.0.0/16", "fd00:1::/32"])
    assert all(address in granted for address in ["10.1.0.0", "10.1.255.255", "fd00:1::5", "1.1.1.1"])
    assert "10.2.0.1" not in granted
    assert not any(address in granted for address in REFUSED)


def test_what_ipaddress_calls_private_is_refused() -> None:
    """Python's own list, as a second opinion on ours."""
    for network in ("10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"):
        first, last = ip_network(network)[0], ip_network(network)[-1]
        assert first.is_private
        assert str(first) not in PUBLIC
        assert str(last) not in PUBLIC


ALLOWED = Allowed(["example.org", "*.wikipedia.org", "intranet.example:8443", "*.bücher.example", "93.184.216.34"])


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("https://example.org", "https://example.org"),
        ("http://example.org/a?b=c#d", "http://example.org/a?b=c"),
        ("HTTPS://EXAMPLE.ORG:443/", "https://example.org/"),
        ("https://example.org./", "https://example.org./"),
        ("https://en.wikipedia.org/wiki/Käse", "https://en.wikipedia.org/wiki/K%C3%A4se"),
        ("https://a.b.wikipedia.org/", "https://a.b.wikipedia.org/"),
        ("https://intranet.example:8443/", "https://intranet.example:8443/"),
        ("https://neue.bücher.example/", "https://neue.xn--bcher-kva.example/"),
        ("http://93.184.216.34/", "http://93.184.216.34/"),
    ],
)
def test_an_allowed_host_may_be_asked(url: str, asked: str) -> None:
    assert str(ALLOWED.parse(url)) == asked


@pytest.mark.parametrize(
    "url",
    [
        "https://wikipedia.org/",
        "https://evilwikipedia.org/",
        "https://en.wikipedia.org.evil.example/",
        "https://example.org.evil.example/",
        "https://sub.example.org/",
        "https://example.org:8080/",
        "http://example.org:443/",
        "https://example.org:0/",
        "https://example.org:-1/",
        "https://example.org:99999/",
        "https://intranet.example/",
        "http://93.184.216.35/",
    ],
)
def test_any_other_host_or_port_may_not(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"is not among the hosts allowed \(example\.org, \*\.wikipedia\.org, "):
        ALLOWED.parse(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "//example.org/",
        "ftp://example.org/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "data:text/plain,x",
        "javascript:alert(1)",
        "https:///example.org",
        "https:example.org",
        " https://example.org",
        "https://user@example.org/",
        "https://user:secret@example.org/",
        "https://:@example.org/",
        "https://example.org\\@evil.example/",
        "https://example.org%2f@evil.example/",
        "https://exa\tmple.org/",
        "https://example.org/\r\nHost: evil.example",
        "https://example.org\0.evil.example/",
        "https://ex%61mple.org/",
        "https://exa mple.org/",
        "https://-example.org/",
        "https://a..example.org/",
        "https://.example.org/",
        "https://*/",
        "https://xn--/",
        "https://１２７.0.0.1/",
        "https://example.org:80:80/",
        "https://[::1/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::1%25eth0]/",
        "https://[fe80::1%eth0]/",
        "https://127.1/",
        "https://0x7f000001/",
        "https://0x7f.0.0.1/",
        "https://0177.0.0.1/",
        "https://2130706433/",
        "https://017700000001/",
        "https://127.0.0.1./",
        "https://1.2.3.4.5/",
        "https://example.127/",
        "https://example.0x7f/",
        "https://" + "a" * 64 + ".example/",
        "https://" + ".".join(["a" * 60] * 5) + "/",
        "https://example.org/" + "a" * 3000,
    ],
)
def test_an_odd_url_is_refused_even_where_every_host_is_allowed(url: str) -> None:
    with pytest.raises(InvalidInput, match="tool 'http_get'") as caught:
        Allowed(["*"]).parse(url)
    assert "not among" not in str(caught.value)


NO_HOSTS = [
    *(
        "",
        "*.",
        "*.*",
        "ex*mple.org",
        "https://example.org",
        "example.org/",
        "user@example.org",
        "a b",
        "[::1]",
        "a..b",
    ),
    *("example.org:", "example.org:http", "*:80", "example.org:0", "example.org:65536", "*.example.org:123456"),
]


@pytest.mark.parametrize("pattern", NO_HOSTS)
def test_a_pattern_that_is_no_host_is_refused_where_it_is_written(pattern: str) -> None:
    with pytest.raises(DefinitionError, match=r"in its allow-list is no host\. Write 'example\.org'"):
        Allowed(["example.org", pattern])


def test_an_empty_allow_list_is_refused() -> None:
    with pytest.raises(DefinitionError, match="it allows no host"):
        Allowed([])
