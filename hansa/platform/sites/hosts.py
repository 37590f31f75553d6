"""Hosts: the names under which a site is reached, always in one spelling.

Sources: RFC 1123 section 2.1 and RFC 1035 section 2.3.4 (letters, lengths), RFC 5891 (IDNA 2008)
with the mapping of UTS 46. What must never happen: two spellings of one name on two sites.
"""

import ipaddress
import re
from typing import Final

import idna

HOST_LENGTH_MAX: Final = 253
_LABEL: Final = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_LOOPBACK: Final = frozenset({"127.0.0.1", "[::1]"})
_PLAIN: Final = re.compile(r"[a-z0-9.-]{1,253}")


def check_host(text: str) -> str:
    """Return a host name in lower case and ASCII form, ``bücher.example`` as ``xn--...``.

    Raises ValueError for addresses, ports, wildcards, names of one label other than localhost, and
    whatever is not a host name.
    """
    refusal = ValueError(f"{text[:64]!r} is not a host name such as shop.example.com")
    name = text.strip().removesuffix(".")
    try:
        ascii_form = idna.encode(name, uts46=True, std3_rules=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError):
        raise refusal from None
    labels = ascii_form.split(".")
    if len(ascii_form) > HOST_LENGTH_MAX or not all(_LABEL.fullmatch(label) for label in labels):
        raise refusal
    if (len(labels) == 1 and ascii_form != "localhost") or labels[-1].isdigit():
        raise refusal
    try:
        ipaddress.ip_address(ascii_form)
    except ValueError:
        return ascii_form
    raise refusal


def host_of_header(header: str) -> str:
    """Return the host that a request's Host header names, for a look-up: without its port, in
    lower case; this machine's own addresses are localhost. Anything that no site can be reached
    under gives an empty text."""
    name = header.strip().lower()
    if name.startswith("["):
        name = name.partition("]")[0] + "]"
    else:
        name = name.partition(":")[0] if name.count(":") <= 1 else ""
    name = name.removesuffix(".")
    if name in _LOOPBACK:
        return "localhost"
    return name if _PLAIN.fullmatch(name) else ""
