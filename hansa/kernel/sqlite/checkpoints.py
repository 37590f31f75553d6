"""Checkpoints: moving committed pages from the write-ahead log into the database file, off the way
of the commands.

A passive checkpoint in a thread of its own, at most every EVERY_S and only after commits: an idle
process never wakes. Under constant writes the log would never begin anew, because there always is
one more frame, so above WAL_BYTES_MAX the writer stops for a moment between two batches.
"""

import asyncio
import logging
from typing import Any, Final

import apsw

from hansa.kernel.sqlite.connection import WAL_BYTES_MAX
from hansa.kernel.sqlite.thread import Worker
from hansa.kernel.sqlite.writer import Writer

EVERY_S: Final = 0.25
READERS_WAIT_MS: Final = 200
"""How long a restart waits for queries that still read from the log; then it is tried later."""

_log = logging.getLogger("hansa.sqlite")


class Checkpoints:
    """The checkpoints of one file, on a connection of their own."""

    def __init__(
        self,
        connection: apsw.Connection,
        loop: asyncio.AbstractEventLoop,
        worker: Worker,
        writer: Writer,
    ) -> None:
        self.connection = connection
        self.worker = worker
        self._loop = loop
        self._writer = writer
        self._frame_bytes = int(connection.pragma("page_size")) + 24
        self._restart_above = WAL_BYTES_MAX
        self._planned: asyncio.TimerHandle | None = None
        self._restarting = False

    def grown(self) -> None:
        """Note that the log grew: plan a checkpoint unless one is planned."""
        if self._planned is None:
            self._planned = self._loop.call_later(EVERY_S, self._begin)

    async def close(self) -> None:
        """Plan no more, wait for the one that runs, and disconnect."""
        if self._planned is not None:
            self._planned.cancel()
        await self.worker.run(lambda: self.connection.close(True))
        self.worker.stop()

    def _begin(self) -> None:
        self._planned = None
        self.worker.post(self._passive, self._ended)

    def _passive(self) -> int:
        """Move what can be moved without disturbing anybody; return the bytes in the log."""
        frames, _ = self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        return frames * self._frame_bytes

    def _ended(self, log_bytes: Any, error: BaseException | None) -> None:
        if isinstance(error, apsw.BusyError):
            return  # a restart is under way and does the same work
        if error is not None:
            # Nothing is lost, the log has it all; the next commit brings the next attempt.
            _log.warning("the checkpoint failed and will be tried again: %s", error)
            return
        if log_bytes > self._restart_above and not self._restarting:
            self._restarting = True
            future = self._writer.between(self._restart)
            future.add_done_callback(lambda done: self._restarted(log_bytes, done))

    def _restart(self) -> None:
        connection = self._writer.connection
        connection.set_busy_timeout(READERS_WAIT_MS)
        try:
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
        finally:
            connection.set_busy_timeout(0)

    def _restarted(self, log_bytes: int, done: "asyncio.Future[None]") -> None:
        self._restarting = False
        error = done.exception()
        if error is None:
            self._restart_above = WAL_BYTES_MAX
            return
        self._restart_above = log_bytes + log_bytes // 4  # not again with every batch
        if not isinstance(error, apsw.BusyError):
            _log.warning("the write-ahead log could not begin anew: %s", error)
