"""Which addresses may be connected to: those of the public internet. Pure.

The ranges are those of IANA's special-purpose registries (RFC 6890), written out because `ipaddress.is_global` differs
between versions of Python.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

__all__ = ["PUBLIC", "Addresses"]

_REFUSED = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # public by its number, and the metadata service of a large cloud by its use
        "169.254.0.0/16",  # link-local, and the metadata service of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "2001::/23",  # of protocols, Teredo among them
        "2001:db8::/32",
        "2002::/16",  # 6to4: each holds an IPv4 address, of any kind
        "3fff::/20",
    )
)
_GLOBAL_IPV6 = IPv6Network("2000::/3")
"""All of global unicast. Outside are loopback, private, link-local, multicast, IPv4-mapped and NAT64 addresses."""


class Addresses:
    """The public addresses.

    Args:
        also: networks that may be connected to as well, such as a company's own.
    """

    def __init__(self, also: Iterable[str] = ()) -> None:
        self._also = tuple(ip_network(network) for network in also)

    def __contains__(self, address: str) -> bool:
        """Whether the text is an address as it is usually written, and one of these."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return _is_public(parsed) or any(parsed in network for network in self._also)


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address) and (address.scope_id is not None or address not in _GLOBAL_IPV6):
        return False
    return not any(address in network for network in _REFUSED)


PUBLIC = Addresses()
