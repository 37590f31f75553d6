"""Placement: which processes serve which service, read from a file. Pure.

    [processes.home]
    urls = ["http://10.0.0.1:8400", "http://10.0.0.2:8400"]
    services = ["sites"]

    [processes.shop]
    urls = ["http://10.0.0.3:8400"]
    services = ["commerce"]

The processes of one entry are replicas on one database. Entries that name the same `cell` share a
database as well; without it each has its own. A service may be in several cells: then each of them
has some of the sites, and a new one is in the first that the file names.
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
        """Raises PlacementInvalid for a service that two entries of a cell serve."""
        self.entries = tuple(entries)
        self._by_service: dict[str, dict[str, Entry]] = {}
        for entry in self.entries:
            for service in entry.services:
                cells = self._by_service.setdefault(service, {})
                other = cells.setdefault(entry.cell, entry)
                if other is not entry:
                    raise PlacementInvalid(
                        f"{service} is served by {other.name} and {entry.name} on one cell"
                    )

    def of(self, service: str, cell: str = "") -> Entry | None:
        """Return who serves a service for the sites of a cell: there, or where it is first. None
        where nobody does."""
        cells = self._by_service.get(service, {})
        return cells.get(cell) or next(iter(cells.values()), None)

    def every(self, service: str) -> list[Entry]:
        """Return who serves a service, in each cell."""
        return list(self._by_service.get(service, {}).values())

    def services_of(self, cell: str) -> list[str]:
        """Return what is served in a cell, by name; nothing for a cell that there is not."""
        return sorted(name for name, cells in self._by_service.items() if cell in cells)

    def entry_of(self, cell: str) -> Entry | None:
        """Return an entry of a cell, None where there is no such cell."""
        return next((entry for entry in self.entries if entry.cell == cell), None)

    def shared(self, cell: str) -> list[str]:
        """Return the services of a cell that other cells serve as well, for other sites."""
        return [name for name in self.services_of(cell) if len(self._by_service[name]) > 1]

    def check_platform(self, services: Iterable[str]) -> None:
        """Raise PlacementInvalid where one of these services, which keep rows of the platform, is
        in several cells."""
        for service in services:
            if len(self.every(service)) > 1:
                raise PlacementInvalid(f"{service} keeps rows of the platform: one cell has it")

    def own(self, services: Iterable[str], name: str = "") -> Entry:
        """Return the entry of a process by its name, or the one that serves these services, all of
        them and nothing else. Raises PlacementInvalid where there is none, or are several."""
        wanted = set(services)
        if name:
            found = [entry for entry in self.entries if entry.name == name]
            told = f"no entry is called {name}"
        else:
            found = [entry for entry in self.entries if set(entry.services) == wanted]
            told = f"no entry serves just {', '.join(sorted(wanted)) or 'nothing'}"
        if not found:
            raise PlacementInvalid(told)
        if len(found) > 1:
            names = " and ".join(entry.name for entry in found)
            raise PlacementInvalid(f"{names} serve the same: say which with --process")
        return found[0]


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
