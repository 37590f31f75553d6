"""What the simulation has found in the kernel, each with a test of its own."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hansa.kernel import deliveries, log
from hansa.kernel.commands import deadline_in
from hansa.kernel.log import LogEvent
from hansa.kernel.remote import following
from hansa.kernel.sqlite import SqliteStorage
from hansa.kernel.sqlite.thread import Done, Worker
from hansa.kernel.storage import PLATFORM, Session, Storage
from tests.kernel import ledger as L
from tests.kernel.cells import OWNER, REAL, opened
from tests.kernel.ledger import Step, Trouble, ledger

TURNS = 200


_FOLLOWED = "follow:home/book.*"


class HeldWorker(Worker):
    """A thread whose errands wait while the test holds them."""

    held: list[Callable[[], None]] | None = None

    def post(self, errand: Callable[[], Any], done: Done) -> None:
        """See `Worker`."""
        if self.held is not None and self._name == "hansa-sqlite-writer":
            self.held.append(partial(super().post, errand, done))
        else:
            super().post(errand, done)


class Counted(SqliteStorage):
    """Counts how often somebody looks at the log."""

    looks = 0

    async def sequence(self) -> int:
        """See `Storage`."""
        self.looks += 1
        return await super().sequence()


def test_who_waits_for_rest_does_not_spin(tmp_path: Path) -> None:
    """While a lane was in its commit, `rest` woke the reader of the log, and the reader `rest`."""

    async def go() -> None:
        storage = Counted(tmp_path / "cell.db", workers=HeldWorker)
        async with opened(storage, ledger) as cell:
            await cell.runtime.do(L.step, OWNER, {"body": Step("a")})
            held: list[Callable[[], None]] = []
            HeldWorker.held = held
            rest = asyncio.create_task(cell.runtime.dispatcher.rest())
            for _ in range(TURNS):
                await asyncio.sleep(0)
            assert held  # the subscribers' commit
            assert not rest.done()
            assert storage.looks < TURNS / 4
            HeldWorker.held = None
            for post in held:
                post()
            await rest

    asyncio.run(go())


def test_a_site_that_moved_hears_what_only_its_new_cell_had_passed(storage: Storage) -> None:
    """The cell that it left had not begun to follow another one, and so said nothing of it: then
    what the new cell had passed, without the site, was lost."""

    async def go() -> None:
        async with opened(storage, ledger) as cell:

            async def back(session: Session) -> dict[str, int]:
                await following.go_back(session, {_FOLLOWED: 9, "follow:south/book.*": 4})
                first = await following.followed(session)
                assert first == {_FOLLOWED: 9, "follow:south/book.*": 4}
                await following.go_back(session, {"follow:south/book.*": 7})
                return await following.followed(session)

            committed = await cell.runtime.storage.write(
                back, site=PLATFORM, deadline=deadline_in(30), across=True
            )
            assert committed.value == {_FOLLOWED: 0, "follow:south/book.*": 4}

    asyncio.run(go())


def test_what_was_put_aside_may_come_once_more(storage: Storage) -> None:
    """With a site come its events, and those that wait for another try: the same one twice stopped
    its subscriber for good."""

    async def go() -> None:
        async with opened(storage, ledger) as cell:
            runtime = cell.runtime
            Trouble.failing = {"a:1"}
            await runtime.do(L.step, OWNER, {"body": Step("a")})
            await runtime.dispatcher.rest()
            several = [one for each in runtime.subscriptions.values() for one in each]
            [stumble] = [one for one in several if one.name.endswith("stumble")]

            async def back(session: Session) -> list[LogEvent]:
                await deliveries.move_cursor(session, stumble.name, REAL.slot, 1, 0)
                return await log.after(session, 0, 10)

            events = await runtime.storage.write(
                back, site=PLATFORM, deadline=deadline_in(30), across=True
            )
            await deliveries.deliver(runtime, stumble, events.value)
            aside = "SELECT state FROM hansa_deliveries"
            assert await cell.rows(aside) == [("waiting",)]

    try:
        asyncio.run(go())
    finally:
        Trouble.reset()
