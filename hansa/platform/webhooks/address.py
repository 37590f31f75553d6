"""Address: where a webhook may go. Pure; who connects checks each address that a name resolves to.

What must never happen: an address that means this machine, its network, or a cloud's metadata
service, in any of the ways in which IPv6 can spell an IPv4 address.
"""

import ipaddress
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import idna

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

URL_LETTERS_MAX: Final = 2_048
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_UNICAST: Final = ipaddress.IPv6Network("2000::/3")  # all of IPv6 that is given out
_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")  # RFC 4291 section 2.5.5.1
_NOWHERE: Final = tuple(
    ipaddress.ip_network(text)
    # What `is_global` of older Pythons lets pass (IANA special-purpose registries).
    for text in ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "3fff::/20", "5f00::/16")
)


def parse_networks(text: str) -> tuple[Network, ...]:
    """Return networks that an operator allows, separated by commas. Raises ValueError."""
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


def _within(address: Address) -> Address | None:
    """Return the IPv4 address that is spelled inside an IPv6 one, if there is any."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64 or address in _COMPATIBLE:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]


def is_allowed(address: Address, allowed: Sequence[Network]) -> bool:
    """Tell whether a request may go to an address: a public one, or one that the operator allows
    as it is written."""
    if any(address.version == one.version and address in one for one in allowed):
        return True
    inner = _within(address)
    if inner is not None:
        return is_allowed(inner, ())
    if address.version == 6 and address not in _UNICAST:
        return False
    named = any(address.version == one.version and address in one for one in _NOWHERE)
    return address.is_global and not address.is_multicast and not named


def check_url(text: str, allowed: Sequence[Network]) -> str:
    """Return a URL that an endpoint may have, its host in ASCII. Raises ValueError.

    `http` is refused unless the operator allows some network; then it works to that one only.
    """
    if len(text) > URL_LETTERS_MAX or not text.isprintable() or " " in text:
        raise ValueError(f"a URL has at most {URL_LETTERS_MAX} letters and no blanks")
    parts = urlsplit(text)
    if parts.scheme != "https" and not (parts.scheme == "http" and allowed):
        raise ValueError("a URL that begins with https://")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("a URL without user, password and fragment")
    host = parts.hostname or ""
    if not host or parts.port == 0:
        raise ValueError("a URL with a host and, if it has one, a port from 1 to 65535")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        host = _ascii(host)
    else:
        if not is_allowed(address, allowed):
            raise ValueError("a URL whose host is public")
        host = f"[{address}]" if address.version == 6 else str(address)
    port = "" if parts.port is None else f":{parts.port}"
    return parts._replace(netloc=host + port, path=parts.path or "/").geturl()


def _ascii(host: str) -> str:
    try:
        name = idna.encode(host.rstrip("."), uts46=True).decode().lower()
    except idna.IDNAError:
        raise ValueError("a URL with the name of a host") from None
    last = name.rpartition(".")[2]
    if last.isdecimal() or last.startswith("0x"):  # another spelling of an IPv4 address
        raise ValueError("a URL with the name of a host, or an address as it is usually written")
    return name
