"""Placement: which processes serve which service, read from a file. Pure.

    [processes.home]
    urls = ["http://10.0.0.1:8400", "http://10.0.0.2:8400"]
    services = ["sites"]

    [processes.shop]
    urls = ["http://10.0.0.3:8400"]
    services = ["commerce"]

The processes of one entry are replicas on one database. Entries that name the same `cell` share a
database as well; without it each has its own.
"""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

ENTRIES_MAX: Final = 1_000
URLS_MAX: Final = 64
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")


class PlacementInvalid(ValueError):
    """A placement that is none; the text says where and why."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a process listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Entry:
    """Processes that serve the same services on the same database."""

    name: str
    cell: str
    addresses: tuple[Address, ...]
    services: tuple[str, ...]


class Placement:
    """Where every service is."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        """Raises PlacementInvalid for a service that two entries serve."""
        self.entries = tuple(entries)
        self._by_service: dict[str, Entry] = {}
        for entry in self.entries:
            for service in entry.services:
                if service in self._by_service:
                    raise PlacementInvalid(
                        f"{service} is served by {self._by_service[service].name} and {entry.name}"
                    )
                self._by_service[service] = entry

    def of(self, service: str) -> Entry | None:
        """Return who serves a service, None where nobody does."""
        return self._by_service.get(service)

    def own(self, services: Iterable[str]) -> Entry:
        """Return the entry of a process that serves these services, all of it and nothing else.

        Raises PlacementInvalid where the placement has no such entry.
        """
        wanted = set(services)
        for entry in self.entries:
            if set(entry.services) == wanted:
                return entry
        raise PlacementInvalid(f"no entry serves just {', '.join(sorted(wanted)) or 'nothing'}")


def read_placement(text: str) -> Placement:
    """Return the placement of a TOML file. Raises PlacementInvalid."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PlacementInvalid(f"not TOML: {error}") from None
    processes = document.pop("processes", None)
    if document or not isinstance(processes, dict):
        raise PlacementInvalid("it has [processes.NAME] and nothing else")
    if not 1 <= len(processes) <= ENTRIES_MAX:
        raise PlacementInvalid(f"it has 1 to {ENTRIES_MAX} entries")
    return Placement(_entry(name, found) for name, found in processes.items())


def _entry(name: str, found: Any) -> Entry:
    if not _NAME.fullmatch(name):
        raise PlacementInvalid(f"{name!r}: a name is of a-z, 0-9 and '-', 63 at most")
    if not isinstance(found, dict) or found.keys() - {"urls", "services", "cell"}:
        raise PlacementInvalid(f"{name}: urls, services and perhaps cell")
    urls, services = _texts(found.get("urls")), _texts(found.get("services"))
    cell = found.get("cell", name)
    if not 1 <= len(urls) <= URLS_MAX:
        raise PlacementInvalid(f"{name}: urls is a list of 1 to {URLS_MAX} texts")
    if not services:
        raise PlacementInvalid(f"{name}: services is a list of texts")
    if not isinstance(cell, str) or not _NAME.fullmatch(cell):
        raise PlacementInvalid(f"{name}: cell is a name")
    return Entry(name, cell, tuple(_address(name, url) for url in urls), services)


def _texts(found: Any) -> tuple[str, ...]:
    """Return a list of texts; nothing for anything else."""
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        return ()
    return tuple(found)


def _address(name: str, url: str) -> Address:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    plain = parts.path in ("", "/") and not parts.query and not parts.username
    if parts.scheme != "http" or not host or not port or not plain:
        raise PlacementInvalid(f"{name}: {url[:100]!r} is not like http://10.0.0.1:8400")
    return Address(host, port)
