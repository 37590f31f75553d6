"""Belongings: all that a cell has of one site, by the declarations of its tables. Pure.

What is not found here is left behind when a site moves, and kept when it is erased; so every table
with a column of sites has to be one of these (tests/kernel/keeping/test_belongings.py).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Boolean, Column, Double, Integer, LargeBinary, Table

from hansa.kernel import tables as kernel
from hansa.kernel.columns import LogPosition, in_order
from hansa.kernel.service import Service

EVENTS: Final = "hansa_events"
DELIVERIES: Final = "hansa_deliveries"
DUE: Final = "hansa_due"
_LAST: Final = (DUE, EVENTS, DELIVERIES)
"""What makes a site live: once these rows are in a cell, something happens to them."""
_OWN: Final = {"holder": "", "lease_until_us": 0}
"""What in the kernel's rows is of the process that has them in hand, and what it is elsewhere."""
_SINCE: Final = {EVENTS: "recorded_at_us", "hansa_receipts": "at_us"}
"""What says since when a row is in the log. What is old there goes, by halves (see `pruning`), so
these instants have to rise with the positions."""
_KINDS: Final = (
    (LargeBinary, "bytea"), (Boolean, "boolean"), (Double, "double precision"), (Integer, "bigint"),
)  # fmt: skip


@dataclass(frozen=True)
class Belonging:
    """A table with rows of sites: `site` is the column that says of which, `key` the others of the
    primary key. `live` rows come last; `platform` ones are in the home cell."""

    table: Table
    site: str
    key: tuple[str, ...]
    live: bool
    platform: bool

    @property
    def name(self) -> str:
        """Return the table's name."""
        return str(self.table.name)

    @property
    def columns(self) -> list[Column[Any]]:
        """Return what is copied of a row."""
        return [one for one in self.table.columns if one.name != "row" or self.name != EVENTS]

    @property
    def names(self) -> list[str]:
        """Return the names of what is copied."""
        return [str(one.name) for one in self.columns]

    @property
    def positions(self) -> list[str]:
        """Return the columns that hold positions of this cell's log, beside those of the log."""
        return [str(one.name) for one in self.columns if isinstance(one.type, LogPosition)]

    @property
    def since(self) -> str:
        """Return the column that says since when a row is in this cell's log, if there is one."""
        return _SINCE.get(self.name, "")

    @property
    def is_by_site(self) -> bool:
        """Tell whether an index begins with the site, so that looking for one of its rows does not
        read the rows of all."""
        first = next(iter(self.table.primary_key.columns)).name
        return self.platform or self.name == EVENTS or first == self.site

    def own(self, column: str) -> Any:
        """Return what a column of the kernel's is for nobody in particular; None if it is kept."""
        return _OWN.get(column) if self.name.startswith("hansa_") else None


def belongings(services: Iterable[Service], *, platform: bool = True) -> list[Belonging]:
    """Return the tables that have rows of a site, each behind those that it refers to, and what
    makes the site live at the end. Without `platform` only what a site's own cell has."""
    every = list(services)
    declared = [table for one in every for table in in_order(one.tables.values())]
    # On PostgreSQL the log has a column more, which is not copied.
    rows = [table for table in kernel.all_tables("sqlite") if table.info["scope"] == "site"]
    quiet = [_of(one) for one in (*_of_sites(declared), *rows) if one.name not in _LAST]
    home = [_of(one, live=True) for one in declared if _is_home(one)]
    live = sorted((one for one in rows if one.name in _LAST), key=lambda one: _LAST.index(one.name))
    return [*quiet, *(home if platform else []), *(_of(one, live=True) for one in live)]


def _of_sites(declared: Sequence[Table]) -> list[Table]:
    return [one for one in declared if one.info["scope"] == "site"]


def _is_home(table: Table) -> bool:
    return table.info["scope"] == "platform" and bool(table.info.get("of_site"))


def _of(table: Table, *, live: bool = False) -> Belonging:
    platform = table.info["scope"] == "platform"
    site = str(table.info["of_site"]) if platform else "site"
    names = ["position"] if table.name == EVENTS else [c.name for c in table.primary_key.columns]
    return Belonging(table, site, tuple(str(n) for n in names if n != site), live, platform)


def kind_of(column: Column[Any]) -> str:
    """Return what PostgreSQL calls a column's kind."""
    for kind, name in _KINDS:
        if isinstance(column.type, kind):
            return name
    return "text"
