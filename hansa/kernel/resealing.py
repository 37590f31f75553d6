"""Resealing: what rests sealed with an older master key is sealed with the current one.

It goes through the columns that services declare (`Service.seals`) and the kernel's own, in small
transactions beside running processes. Whatever stops it, what is done stays done: a value of the
current key is left as it is. What must never happen here: a value that no key opens any more.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hansa.kernel.commands import deadline_in
from hansa.kernel.relations import sql
from hansa.kernel.sealing import SealBroken, Sealer
from hansa.kernel.storage import PLATFORM, Session, Storage

LOOKED_AT: Final = 1_000
"""Rows of which one read looks at the first bytes."""
BATCH: Final = 100
"""Values that one transaction writes."""
WAIT_S: Final = 30.0


@dataclass(frozen=True)
class Sealed:
    """A column with values that may be sealed; what is not begins with another byte (JSON)."""

    table: str
    key: tuple[str, ...]
    column: str
    purpose: str
    site: str


PROOF: Final = Sealed("hansa_proof", ("name",), "value", "proof", "name")
"""What tells a cell its key (module proof)."""
KERNEL: Final = (
    PROOF,
    Sealed("hansa_attempts", ("site", "id"), "request", "attempt", "site"),
    Sealed("hansa_attempts", ("site", "id"), "answer", "answer", "site"),
    Sealed("hansa_keys", ("site", "digest"), "answer", "answer", "site"),
)


@dataclass(frozen=True)
class Done:
    """How many values were sealed anew, and how many no known key opens."""

    resealed: int
    broken: int


async def reseal(
    storage: Storage,
    sealer: Sealer,
    columns: Iterable[Sealed],
    *,
    on_batch: Callable[[int], None] = lambda count: None,
) -> Done:
    """Seal all that rests in some columns with the current key; `on_batch` hears of each
    transaction. A second run that finds nothing proves that nothing is left."""
    resealed = broken = 0
    for column in (*KERNEL, *columns):
        after: Sequence[Any] | None = None
        while True:
            stale, after = await _stale(storage, sealer, column, after)
            for at in range(0, len(stale), BATCH):
                fresh, lost = _anew(sealer, column, stale[at : at + BATCH])
                broken += lost
                if fresh:
                    count = await _write(storage, column, fresh)
                    resealed += count
                    on_batch(count)
            if after is None:
                break
    return Done(resealed, broken)


@dataclass(frozen=True)
class _Stale:
    key: tuple[str, ...]
    site: str
    value: bytes


async def _stale(
    storage: Storage, sealer: Sealer, column: Sealed, after: Sequence[Any] | None
) -> tuple[list[_Stale], Sequence[Any] | None]:
    """Return the values of older keys among the next rows, and the last of these rows, if any."""
    names = ", ".join(column.key)
    value, head = column.column, sealer.head
    beyond = ""
    if after is not None:
        marks = ", ".join(f"?{number}" for number in range(3, 3 + len(column.key)))
        beyond = f"WHERE ({names}) > ({marks})"
    statement = (
        f"SELECT {column.site}, CASE WHEN substr({value}, 1, 1) = ?1"
        f" AND substr({value}, 1, {len(head)}) <> ?2 THEN {value} END, {names}"
        f" FROM {column.table} {beyond} ORDER BY {names} LIMIT {LOOKED_AT}"
    )

    async def body(session: Session) -> Sequence[Sequence[Any]]:
        return await session.fetch(sql(session, statement), (head[:1], head, *(after or ())))

    rows = await storage.read(
        body, site=PLATFORM, deadline=deadline_in(WAIT_S), across=True, shape="reseal"
    )
    stale = [_Stale(tuple(row[2:]), row[0], bytes(row[1])) for row in rows if row[1] is not None]
    return stale, tuple(rows[-1][2:]) if len(rows) == LOOKED_AT else None


def _anew(
    sealer: Sealer, column: Sealed, stale: Sequence[_Stale]
) -> tuple[list[tuple[_Stale, bytes]], int]:
    """Return values with their new form, and how many cannot be opened."""
    fresh: list[tuple[_Stale, bytes]] = []
    for one in stale:
        try:
            plain = sealer.open(column.purpose, one.site, one.value)
        except SealBroken:
            continue
        fresh.append((one, sealer.seal(column.purpose, one.site, plain)))
    return fresh, len(stale) - len(fresh)


async def _write(storage: Storage, column: Sealed, fresh: Sequence[tuple[_Stale, bytes]]) -> int:
    """Write new forms, each only where the value is still the one that was read."""
    where = " AND ".join(f"{name} = ?{number}" for number, name in enumerate(column.key, start=3))
    statement = (
        f"UPDATE {column.table} SET {column.column} = ?1 WHERE {column.column} = ?2 AND {where}"
    )

    async def body(session: Session) -> int:
        return sum(
            [
                await session.run(sql(session, statement), (new, one.value, *one.key))
                for one, new in fresh
            ]
        )

    committed = await storage.write(body, site=PLATFORM, deadline=deadline_in(WAIT_S), across=True)
    return committed.value
