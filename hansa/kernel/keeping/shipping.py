"""Shipping: the changes of a SQLite cell brought to a depot, every second or so, as it runs.

A process of its own reads the pages that changed from the write-ahead log. For that it always holds
a snapshot, and takes the next one before it lets go: so the log begins anew only when all in it was
read. (Either the held snapshot stands in the log, which then cannot begin anew; or it was taken
when all of the log had been moved into the file, and then that run of the log was read to its end
and the next one stays until it was.) When the log grows, writers are stopped for some milliseconds
in which all of it is moved, as Litestream does.

What must never happen here: a change that is left out without a new beginning, or a cell that has
to wait for a depot, or runs out of disk because of one.
"""

import logging
import os
import secrets
import shutil
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw

from hansa.kernel.clock import Clock
from hansa.kernel.keeping import claim, pages, shipment, wal
from hansa.kernel.keeping.backoff import Backoff
from hansa.kernel.keeping.claim import Claim
from hansa.kernel.keeping.depot import Depot, patiently
from hansa.kernel.keeping.shipment import FORMAT, Head, Shipment
from hansa.kernel.keeping.wal import Broken

logger = logging.getLogger("hansa.shipping")

ANEW_BYTES: Final = 8 << 20
"""Above this much in the log writers are stopped for a moment, so that it begins anew."""
STOP_WAIT_MS: Final = 200
PENDING_BYTES_MAX: Final = 1 << 30
"""What may wait here for a depot that cannot be reached; above it, a generation is given up."""
AGAIN_S: Final = 5
"""Between two beginnings of a generation, each of which copies the whole file, while the disk or
the depot refuses: the first wait, which doubles."""
AGAIN_MAX_S: Final = 60
"""The longest wait for that, and for a depot that fails."""
LAST_TRIES: Final = 10
LAST_WAIT_S: Final = 0.2
GENERATION_S: Final = 86_400
KEEP_S: Final = 7 * 86_400
LOOK_S: Final = 60
"""How often it is seen to that the depot still has what was shipped, while nothing changes."""
_US: Final = 1_000_000


@dataclass
class _Generation:
    """A row of shipments: what the next one has to begin with."""

    name: str
    begun_us: int
    inode: int
    base_bytes: int
    salt: bytes
    frame: int
    digest: str = ""
    number: int = 0
    bytes: int = 0


class Shipper:
    """Ships one file to one depot. Its methods belong to one thread."""

    def __init__(
        self,
        file: Path,
        depot: Depot,
        clock: Clock,
        spool: Path,
        *,
        cell: str,
        master_keys: Sequence[str] = (),
        keep_s: float = KEEP_S,
    ) -> None:
        """`spool` is a folder of our own for what waits to be shipped; what is in it is removed.
        `cell` is the name by which the depot knows the cell."""
        self._file = file
        self._depot = depot
        self._cell = cell
        self._clock = clock
        self._spool = spool
        self._master_keys = tuple(master_keys)
        self._keep_us = int(keep_s * _US)
        self._generation: _Generation | None = None
        self._held: apsw.Connection | None = None
        self._pending: deque[tuple[Shipment, Path]] = deque()
        self._beginning = Backoff(clock, AGAIN_S, AGAIN_MAX_S)
        self._delivering = Backoff(clock, 1, AGAIN_MAX_S)
        self._claim: Claim | None = None
        self._base = ""  # the name of the last whole file that was brought
        self._looked_us = clock.now_us()

    def run(self, every_s: float, stop: threading.Event) -> None:
        """Ship now, every so often until told to stop, and then once more. Raises KeepingRefused
        when the depot is of another cell, or somebody else has it now."""
        shutil.rmtree(self._spool, ignore_errors=True)
        self._spool.mkdir(mode=0o700, parents=True)
        try:
            self.once()
            while not stop.wait(every_s):
                self.once()
            self._ship_last()
        finally:
            self._hold(None)
            shutil.rmtree(self._spool, ignore_errors=True)

    def _ship_last(self) -> None:
        """Ship what has changed until now. A process that was killed may leave the log busy for a
        moment: what is not taken then would never be."""
        self._delivering.succeed()
        for _ in range(LAST_TRIES):
            self._beginning.succeed()
            self.once()
            if self._generation is not None or self._claim is None:
                return
            time.sleep(LAST_WAIT_S)
        logger.error("what changed last is not shipped; it is when shipping begins again")

    def reach(self) -> bool:
        """Have the depot be this cell's, if that is not so already (see `claim.take`); tell whether
        it could be reached. Where it could not that is told, and tried again only when it is time.
        Raises KeepingRefused."""
        if self._claim is None and self._delivering.is_over():
            try:
                self._claim = claim.take(self._depot, self._cell)
                self._delivering.succeed()
            except OSError as error:
                wait_s = self._delivering.fail()
                logger.warning(
                    "nothing is shipped yet: the depot cannot be reached, asking it again in %d s:"
                    " %s", wait_s, error,
                )  # fmt: skip
            else:
                logger.info("the depot is reached, and shipping begins")
        return self._claim is not None

    def once(self) -> None:
        """Take what changed, and bring what waits to the depot. Whatever fails is told and tried
        again; what cannot be told any more has a new generation begin, after a while where the disk
        or the depot is what failed. Nothing is taken before the depot was reached: there would be
        nothing that it follows."""
        if not self.reach():
            return
        try:
            self._take_all()
        except Broken as error:
            logger.warning("a new generation begins: %s", error)
            self._give_up()
        except (apsw.Error, OSError) as error:
            self._give_up()
            wait_s = self._beginning.fail()
            logger.warning("a new generation begins in %d s: %s", wait_s, error)
        self._deliver_or_wait()

    # ---- taking

    def _take_all(self) -> None:
        known = self._generation
        if known is None or self._is_over(known):
            if self._beginning.is_over():
                self._begin()
            return
        if self._take(known) > ANEW_BYTES:
            self._stop_and_move(known)

    def _is_over(self, known: _Generation) -> bool:
        if os.stat(self._file).st_ino != known.inode:
            raise Broken("there is another file in the place of the one that was shipped")
        old = self._clock.now_us() - known.begun_us > GENERATION_S * _US
        return old or known.bytes > 2 * known.base_bytes + ANEW_BYTES

    def _begin(self) -> None:
        """Ship the whole file, as it is on the snapshot that is held from now on."""
        self._hold(None)
        self._generation = None
        begun_us = self._clock.now_us()
        inode = os.stat(self._file).st_ino
        held = pages.connect(self._file)
        copy = self._spool / "base.db"
        try:
            pages.look(held)
            # From before the snapshot, which therefore has all of it. What comes between the two is
            # in the file and is shipped once more, which changes nothing.
            index = wal.read_index(self._file)
            pages.hold(held)
            read_us = self._clock.now_us()
            copy.unlink(missing_ok=True)
            pages.copy(held, copy)
            size = copy.stat().st_size
            page_bytes = int(str(held.pragma("page_size")))
            name = f"{begun_us:016x}-{secrets.token_hex(4)}"
            known = _Generation(name, begun_us, inode, size, index.salt, index.frames)
            head = Head(FORMAT, page_bytes, size // page_bytes, "", self._master_keys)
            self._add(known, (begun_us, read_us), head, shipment.pages_in(copy, page_bytes))
        except BaseException:
            held.close(True)
            raise
        finally:
            copy.unlink(missing_ok=True)
        self._hold(held)
        self._generation = known

    def _take(self, known: _Generation) -> int:
        """Ship what has changed, if anything has; return how large the log is."""
        begun_us = self._clock.now_us()
        following = pages.connect(self._file)
        try:
            pages.hold(following)
            index = wal.read_index(self._file)
            read_us = self._clock.now_us()
            after = known.frame if index.salt == known.salt else 0
            if index.frames < after:
                raise Broken("the log is shorter than before")
            if index.frames > after:
                head = Head(FORMAT, index.page_bytes, index.pages, known.digest)
                changed = wal.pages_of(self._file, after, index)
                self._add(known, (begun_us, read_us), head, changed)
        except BaseException:
            following.close(True)
            raise
        self._hold(following)
        known.salt, known.frame = index.salt, index.frames
        return index.frames * index.page_bytes

    def _add(
        self,
        known: _Generation,
        instants: tuple[int, int],
        head: Head,
        content: Iterable[tuple[int, bytes]],
    ) -> None:
        """Write a shipment, to be delivered."""
        one = Shipment(known.name, known.number, *instants)
        path = self._spool / one.name
        try:
            digest = shipment.write(path, head, content)
            size = path.stat().st_size
        except BaseException:
            path.unlink(missing_ok=True)  # nobody knows of it, and the disk may be full
            raise
        known.digest = digest
        known.number += 1
        known.bytes += size if one.number else 0
        self._pending.append((one, path))

    def _hold(self, connection: apsw.Connection | None) -> None:
        """Hold another snapshot, and only then let go of the one that is held."""
        before, self._held = self._held, connection
        if before is not None:
            before.close(True)

    def _stop_and_move(self, known: _Generation) -> None:
        """Have everything in the log moved into the file while nobody commits; then the next
        transaction begins the log anew. Somebody who reads for long only puts that off."""
        with (
            closing(pages.connect(self._file)) as writer,
            closing(pages.connect(self._file)) as mover,
        ):
            pages.look(mover)
            mover.set_busy_timeout(0)
            _move(mover)
            writer.set_busy_timeout(STOP_WAIT_MS)
            try:
                writer.execute("BEGIN IMMEDIATE")
            except apsw.BusyError:
                return
            self._take(known)
            _move(mover)
            at_rest = pages.connect(self._file)
            pages.hold(at_rest)
            self._hold(at_rest)
            writer.execute("ROLLBACK")

    def _give_up(self) -> None:
        self._hold(None)
        self._generation = None

    # ---- delivering

    def _deliver_or_wait(self) -> None:
        """Deliver; after a failure only when it is time to try again. What waits is bounded."""
        if self._delivering.is_over():
            try:
                self._deliver()
                self._delivering.succeed()
            except OSError as error:
                wait_s = self._delivering.fail()
                logger.warning("the depot fails, asking it again in %d s: %s", wait_s, error)
        waits = sum(path.stat().st_size for _, path in self._pending)
        if waits > PENDING_BYTES_MAX:
            self._give_up()
            self._drop()
            wait_s = self._beginning.fail()
            logger.warning("%d bytes waited: a new generation begins in %d s", waits, wait_s)

    def _deliver(self) -> None:
        """Bring what waits to the depot, in order. Raises OSError, and the rest waits; and
        KeepingRefused when somebody else has the depot now."""
        now_us = self._clock.now_us()
        if not self._pending and now_us - self._looked_us < LOOK_S * _US:
            return
        assert self._claim is not None
        if not self._is_whole(self._claim):
            logger.warning("a new generation begins: what was shipped is gone from the depot")
            claim.write(self._depot, self._claim)
            self._base = ""
            self._give_up()
            self._drop()
        self._looked_us = now_us
        while self._pending:
            one, path = self._pending[0]
            patiently(self._depot.put, one.name, path)
            self._pending.popleft()
            path.unlink()
            if one.number:
                self._beginning.succeed()
            else:
                self._base = one.name
                self._clean()

    def _is_whole(self, own: Claim) -> bool:
        """Tell whether the depot has what the next shipment follows."""
        there = claim.is_there(self._depot, own)
        return there and (not self._base or self._depot.has(self._base))

    def _drop(self) -> None:
        """Forget what waits: the depot is out of reach, and the disk is not ours alone."""
        while self._pending:
            self._pending.popleft()[1].unlink()

    def _clean(self) -> None:
        """Take away what is needed for no instant that is to be kept."""
        before_us = self._clock.now_us() - self._keep_us
        for one in shipment.expired(shipment.parse(self._depot.names()), before_us):
            self._depot.erase(one.name)


def _move(mover: apsw.Connection) -> None:
    with suppress(apsw.BusyError):  # the cell's own checkpoint is under way
        mover.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
