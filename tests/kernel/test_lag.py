"""How far subscribers are behind is told by what they take, at a cost that has a bound."""

import asyncio

from hansa.kernel import lag
from hansa.kernel.commands import deadline_in
from hansa.kernel.lag import Lag
from hansa.kernel.storage import PLATFORM, Storage
from tests.kernel.cells import OTHER, REAL, TestCell, opened
from tests.kernel.ledger import ledger

_SEEN = "INSERT INTO hansa_subscribers (subscriber, floor, seen_at_us) VALUES (?1, ?2, 7)"
_EVENT = """INSERT INTO hansa_events (id, site, slot, epoch, aggregate, seq, type, version, at_us,
recorded_at_us, trace, cause, principal, data)
VALUES (?1, ?2, ?3, 1, 'ledger:a', ?4, ?5, 1, 0, 0, '', '', '', ?6)"""
_CURSOR = "INSERT INTO hansa_cursors (subscriber, slot, epoch, position) VALUES (?1, ?2, 1, ?3)"
_OPEN = """INSERT INTO hansa_deliveries (subscriber, event, site, aggregate, position, state,
attempt, ready_at_us, error, trace, failed_at_us)
VALUES ('ledger.stumble', ?1, 'site_real', 'a', 0, ?1, 0, 0, '', '', 0)"""


async def look(cell: TestCell, last: int = 100) -> dict[str, Lag]:
    found = await cell.storage.read(
        lambda session: lag.look(session, ledger.subscriptions, last),
        site=PLATFORM, deadline=deadline_in(30), across=True,
    )  # fmt: skip
    return {one.subscriber: one for one in found}


def test_only_what_is_taken_counts(storage: Storage) -> None:
    async def go() -> None:
        async with opened(storage, ledger, background=False) as cell:
            assert await look(cell) == {}
            for name, floor in (("ledger.stumble", 2), ("gone.away", 0), ("cell:far/a", 3)):
                await cell.run(_SEEN, name, floor)
            for seq in range(1, 11):
                site = REAL if seq % 2 else OTHER
                kind = "ledger.other" if seq in (5, 6) else "ledger.stepped"
                await cell.run(_EVENT, f"e{seq}", site.id, site.slot, seq, kind, b"{}")
            await storage.sequence()
            # Of those behind the floor (3 to 10) two are of another type, and one was taken.
            await cell.run(_CURSOR, "ledger.stumble", REAL.slot, 3)
            for state in ("parked", "waiting", "skipped"):
                await cell.run(_OPEN, state)
            found = await look(cell)
            assert found == {
                "cell:far/a": Lag("cell:far/a", 7, 7, 0),
                "gone.away": Lag("gone.away", 7, None, 0),
                "ledger.stumble": Lag("ledger.stumble", 7, 5, 2),
            }
            assert (await look(cell, 2))["ledger.stumble"].behind == 2, "of the last two"
            await cell.run(_CURSOR, "ledger.stumble", OTHER.slot, 10)
            await cell.run("UPDATE hansa_cursors SET position = 9 WHERE slot = ?1", REAL.slot)
            await cell.run(
                "UPDATE hansa_subscribers SET floor = 10 WHERE subscriber = 'cell:far/a'"
            )
            found = await look(cell)
            assert [found[one].behind for one in ("cell:far/a", "ledger.stumble")] == [0, 0]

    asyncio.run(go())
