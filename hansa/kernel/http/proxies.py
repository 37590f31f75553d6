"""Proxies: from which address a request comes, when others stand in front. Pure.

Each proxy adds the address that it was asked from at the right end of X-Forwarded-For, so the
header is read from the right, for as long as what stands there is a proxy that we trust. What must
never happen here: an address that the client has made up.
"""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from hansa.kernel.http.message import Request

Network = IPv4Network | IPv6Network

PROXIES_ENV: Final = "HANSA_PROXIES"
"""The networks of the proxies in front, as 10.0.0.0/8,fd00::/8; this machine is always one."""
LOOPBACK: Final[tuple[Network, ...]] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
HOME_BITS: Final = 64
"""What one household or server has of IPv6 (RFC 6177), so counts as one address."""
KNOWN_MAX: Final = 4_096


def parse_proxies(text: str) -> tuple[Network, ...]:
    """Return the networks in a text, and this machine. Raises ValueError for what is none."""
    return (*LOOPBACK, *(ip_network(part.strip()) for part in text.split(",") if part.strip()))


class Proxies:
    """The proxies that are believed."""

    def __init__(self, networks: Sequence[Network] = LOOPBACK) -> None:
        self._networks = networks
        self._place = lru_cache(KNOWN_MAX)(self._look)

    def address_of(self, request: Request) -> str:
        """Return the client's address (of IPv6 the network of 64 bits), "" where it cannot be
        known: nobody but proxies is named."""
        address, trusted = self._place(host_of(request.peer))
        if not trusted:
            return address
        named = ",".join(request.headers.get_all("x-forwarded-for"))
        for text in reversed(named.split(",")):
            address, trusted = self._place(text.strip())
            if not trusted:
                return address
        return ""

    def _look(self, text: str) -> tuple[str, bool]:
        """Return an address as it is counted, and whether it is one of ours; "" for none."""
        try:
            found = ip_address(text)
        except ValueError:
            return "", False
        if isinstance(found, IPv6Address):
            found = found.ipv4_mapped or found
        if any(found in network for network in self._networks):
            return str(found), True
        if isinstance(found, IPv6Address):
            return str(IPv6Network((found.packed, HOME_BITS), strict=False)), False
        return str(found), False


def host_of(peer: str) -> str:
    """Return the address in ``192.0.2.1:80`` or ``[2001:db8::1]:80``."""
    if peer.startswith("["):
        return peer[1 : peer.find("]")]
    return peer.rpartition(":")[0] if peer.count(":") == 1 else peer
