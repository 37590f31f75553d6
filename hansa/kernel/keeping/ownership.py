"""Ownership: what rows have to be before they go into a cell as a site's. Pure.

Whoever provides a file says what its rows are. What must never happen here: a row that gets in with
a site and is of another one, or of the platform, whose keys open everything.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final

from hansa.kernel.keeping.belongings import DELIVERIES, DUE, EVENTS, Belonging
from hansa.kernel.keeping.manifest import KeepingRefused
from hansa.kernel.keeping.sitefile import Head

_READ: Final = {
    EVENTS: ("id", "position", "recorded_at_us"), DELIVERIES: ("position",),
    DUE: ("holder", "ready_at_us"),
}  # fmt: skip
"""Columns that are looked at on the way (see `carrying`), so that no row is without them."""


def check_known(rows: Sequence[Belonging], head: Head) -> None:
    """Raise KeepingRefused for what this release has no place for, or no row can be without."""
    by_name = {one.name: one for one in rows}
    for table, columns in head.tables.items():
        known = by_name[table].names if table in by_name else []
        unknown = sorted(set(columns) - set(known)) or ([] if known else ["*"])
        if unknown:
            raise KeepingRefused(
                f"The file has {table}.{unknown[0]}, which this release does not know: import it"
                " with the release that wrote it, or a newer one."
            )
        one = by_name[table]
        missing = sorted({one.site, *one.key, *_READ.get(table, ())} - set(columns))
        if missing or len(set(columns)) != len(columns):
            odd = f"without {missing[0]}" if missing else "with a column twice"
            raise KeepingRefused(f"The file is no site's: it has {table} {odd}.")


def check_row(head: Head, one: Belonging, values: Sequence[Any]) -> None:
    """Raise KeepingRefused for a row of another site, or of none that was told of."""
    names = head.tables.get(one.name, [])
    if len(values) != len(names) or not names:
        raise KeepingRefused(
            f"A row of {one.name} has {len(values)} values for {len(names)} columns."
        )
    if values[names.index(one.site)] != head.site:
        raise KeepingRefused(f"A row of {one.name} is not of {head.site}.")


def check_rows(
    rows: Sequence[Belonging],
    head: Head,
    given: Iterable[tuple[str, Sequence[Any]]],
    check_key: Callable[[str], object],
    stored: Collection[str],
) -> None:
    """Raise KeepingRefused where one of the rows of a file is not of its site, or one of a `stored`
    table leads to what is not: its id has to be of a key `<site>/<id>`, by `check_key`."""
    by_name = {one.name: one for one in rows if one.name in head.tables}
    for name, values in given:
        one = by_name.get(name)
        if one is None:
            raise KeepingRefused(f"The file is no site's: {name!r} is not among its tables.")
        check_row(head, one, values)
        if name in stored:
            _check_stored(head, one, values, check_key)


def _check_stored(
    head: Head, one: Belonging, values: Sequence[Any], check_key: Callable[[str], object]
) -> None:
    identity = values[head.tables[one.name].index("id")]
    try:
        check_key(f"{head.site}/{identity}")
    except ValueError as error:
        raise KeepingRefused(f"A row of {one.name} has the id {identity!r}: {error}.") from None
