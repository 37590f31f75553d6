"""Writer: the one connection that writes, and the batches of commands that share a commit.

    jobs -> BEGIN -> SAVEPOINT job RELEASE, job after job -> COMMIT in a thread -> answers

Jobs come by turns of their sites (see `turns`). Those of a batch see each other's rows before they
are durable, so nobody is answered before the COMMIT, not even who is refused. If the transaction
vanishes on the way (a full disk, an I/O error), nobody was answered, and every job of the batch
runs again in a transaction of its own: then an error hits only the one that meets it.

A batch runs in callbacks of the event loop, not in a task: no job can get at somebody else's task,
and a job that never waits costs no task of its own.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from typing import Any, Final

import apsw

from hansa.kernel import machine
from hansa.kernel.fence import Fence
from hansa.kernel.observe.statements import Statements
from hansa.kernel.problems import Overloaded, Problem, StorageFailed
from hansa.kernel.shedding import Pressure
from hansa.kernel.sqlite.errors import late, translate
from hansa.kernel.sqlite.pace import NOTE_S, SLOW_S, Pace
from hansa.kernel.sqlite.thread import Worker
from hansa.kernel.storage import Body, Committed, Dialect, Row
from hansa.kernel.trampoline import Wait, drive_now
from hansa.kernel.turns import Turns

BATCH_JOBS: Final = 256
BATCH_S: Final = 0.005
"""A batch takes in no more jobs after this many seconds of running."""
LOCK_WAIT_MS: Final = 5_000
"""How long a batch waits, in the thread, for another program that has the file's write lock."""

_POSITION: Final = "SELECT seq FROM sqlite_sequence WHERE name = 'hansa_events'"


class Job:
    """One command on its way: what to run, until when, and who waits for the answer."""

    __slots__ = (
        "across", "began", "body", "context", "deadline", "error", "future", "position", "site",
        "trouble", "value",
    )  # fmt: skip

    def __init__(
        self,
        site: str,
        body: Body[Any],
        deadline: float,
        across: bool,
        future: "asyncio.Future[Committed[Any]]",
    ) -> None:
        self.site = site
        self.across = across
        self.began = machine.monotonic()
        """When it began to wait, and from then on when it began to run."""
        self.body = body
        self.deadline = deadline
        self.future = future
        self.context: Context = copy_context()
        self.value: Any = None
        self.error: BaseException | None = None
        self.position = 0
        self.trouble: BaseException | None = None
        """How the transaction failed in which it ran before."""

    @property
    def doubt(self) -> BaseException | None:
        """The failure after which it is unknown whether this job was kept: an fsync that failed may
        still have reached the disk, and a crash before the next commit would bring it back."""
        return self.trouble if isinstance(self.trouble, StorageFailed) else None

    def refuse(self, error: BaseException) -> None:
        """Answer with an error, if anybody still waits."""
        if self.future.done():
            return
        if isinstance(error, StopIteration):  # a future does not take it
            error = RuntimeError("the command raised StopIteration")
        self.future.set_exception(error)


class WriteSession:
    """What a command reads and writes through: its savepoint of the batch."""

    __slots__ = ("_execute", "_writer", "coro", "deadline", "position", "residence")

    dialect: Dialect = "sqlite"

    def __init__(self, writer: "Writer", deadline: float) -> None:
        self.deadline = deadline
        self.position = 0
        self.residence: str | None = None
        self.coro: Any = None
        self._writer = writer
        self._execute: Callable[..., Any] = writer.execute

    async def fetch(self, sql: str, args: Sequence[Any] = ()) -> Sequence[Row]:
        """Run one statement and return its rows (see `storage.Session`)."""
        began = machine.monotonic()
        if began > self.deadline:
            raise late()
        pace = self._writer.pace
        average = pace.watched.get(sql)
        if average is not None and average >= SLOW_S:
            return (await self._in_thread(sql, args))[0]
        try:
            rows: list[Row] = self._execute(sql, args).fetchall()
        except Exception as error:
            raise self._failed(sql, began, error) from error
        ended = machine.monotonic()
        if average is not None or ended - began > NOTE_S:
            pace.note(sql, ended - began)
        statements = self._writer.statements
        if statements.noted:
            statements.note(sql, began, ended, len(rows))
        return rows

    async def run(self, sql: str, args: Sequence[Any] = ()) -> int:
        """Run one statement and return how many rows it changed (see `storage.Session`)."""
        began = machine.monotonic()
        if began > self.deadline:
            raise late()
        pace = self._writer.pace
        average = pace.watched.get(sql)
        if average is not None and average >= SLOW_S:
            return (await self._in_thread(sql, args))[1]
        try:
            self._execute(sql, args).fetchall()  # to its end, also with RETURNING
        except Exception as error:
            raise self._failed(sql, began, error) from error
        ended = machine.monotonic()
        if average is not None or ended - began > NOTE_S:
            pace.note(sql, ended - began)
        changed = self._writer.connection.changes()
        statements = self._writer.statements
        if statements.noted:
            statements.note(sql, began, ended, changed)
        return changed

    async def enter_site(self, site: str) -> None:
        """Do nothing: SQLite has no row-level security, the compiler's scoping stands alone."""

    def end(self) -> None:
        """Refuse every further statement: the savepoint is closed."""
        self._execute = _ended

    async def _in_thread(self, sql: str, args: Sequence[Any]) -> tuple[list[Row], int]:
        writer, execute = self._writer, self._execute
        self._execute = _waiting
        asked = machine.monotonic()

        def statement() -> tuple[list[Row], int, float]:
            began = machine.monotonic()
            rows: list[Row] = execute(sql, args).fetchall()
            return rows, writer.connection.changes(), machine.monotonic() - began

        try:
            rows, changed, took = await Wait[Any](writer.worker.run(statement))
        except Exception as error:
            raise self._failed(sql, asked, error) from error
        finally:
            if self._execute is _waiting:
                self._execute = execute
        writer.pace.note(sql, took)
        if writer.statements.noted:
            writer.statements.note(sql, asked, machine.monotonic(), len(rows) or changed)
        return rows, changed

    def _failed(self, sql: str, began: float, error: Exception) -> BaseException:
        """Return the kernel's error; if SQLite rolled back by itself, nothing more may run."""
        told = translate(error)
        self._writer.statements.failed(sql, began, told)
        if not self._writer.connection.in_transaction and isinstance(error, apsw.Error):
            self._writer.vanished = self._writer.vanished or told
            self._execute = _ended
        return told


def _ended(*_: Any) -> Any:
    raise RuntimeError("this command's transaction has ended; its session was kept beyond it")


def _waiting(*_: Any) -> Any:
    raise RuntimeError("a statement of this command is still running; await it first")


class Writer:
    """The queue of jobs, and the batch that is running. All methods belong to the event loop."""

    def __init__(
        self,
        connection: apsw.Connection,
        loop: asyncio.AbstractEventLoop,
        worker: Worker,
        pace: Pace,
        queue_max: int,
        committed: Callable[[], None],
        pressure: Pressure,
        statements: Statements,
        fence: Fence,
    ) -> None:
        self._fence = fence
        self._pressure = pressure
        self.statements = statements
        self.connection = connection
        self.execute: Callable[..., Any] = connection.cursor().execute
        self.worker = worker
        self.pace = pace
        self.vanished: BaseException | None = None
        """Why the open transaction is not there any more."""
        self._loop = loop
        self._queue_max = queue_max
        self._tell_committed = committed
        self._queue: Turns[Job] = Turns()
        self._alone: deque[Job] = deque()
        self._errands: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()
        self._batch: list[Job] = []
        self._batch_max = BATCH_JOBS
        self._batch_ends = 0.0
        self._changes = 0
        self._active = False
        self._closing = False
        self._idle: asyncio.Future[None] | None = None
        self._counts = False
        self._position = 0  # of the last commit
        self._reached = 0  # of the open transaction
        self.look_at_schema()

    def look_at_schema(self) -> None:
        """Find out whether this file has a log, whose last position is what commits are told."""
        found = self.execute("SELECT 1 FROM sqlite_master WHERE name = 'hansa_events'").fetchall()
        self._counts = bool(found)
        self._position = self._reached = self._read_position()

    def _read_position(self) -> int:
        if not self._counts:
            return 0
        rows: list[tuple[int]] = self.execute(_POSITION).fetchall()
        return rows[0][0] if rows else 0

    # ---- the queue

    def submit(
        self, site: str, body: Body[Any], deadline: float, across: bool
    ) -> "asyncio.Future[Committed[Any]]":
        """Queue a command of a site. Raises Overloaded when the queue is full or the storage
        closes; a full queue has room for a site whose line is not the longest, whose last job then
        is refused in its place. Raises as `Fence.check_write`, and so does the answer where the
        site was closed while the command waited."""
        self._fence.check_write(site, across)
        if self._closing:
            raise Overloaded("This process is shutting down.", retry_after_s=1)
        if len(self._queue) >= self._queue_max:
            full = Overloaded("Too many commands wait for this cell.", retry_after_s=1)
            given_up = self._queue.crowded_out(site)
            if given_up is None:
                raise full
            given_up.refuse(full)
        future: asyncio.Future[Committed[Any]] = self._loop.create_future()
        self._queue.put(site, Job(site, body, deadline, across, future))
        self._wake()
        return future

    def between(self, errand: Callable[[], Any]) -> "asyncio.Future[Any]":
        """Run `errand` in the writer's thread between two batches, outside of a transaction."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._errands.append((errand, future))
        self._wake()
        return future

    async def drain(self) -> None:
        """Take no more jobs, and wait until those there are have been answered."""
        self._closing = True
        if self._active:
            self._idle = self._loop.create_future()
            await self._idle

    def _wake(self) -> None:
        if not self._active:
            self._active = True
            self._loop.call_soon(self._next)

    # ---- one batch

    def _next(self) -> None:
        """Begin the next errand or batch, or rest."""
        if self._errands:
            errand, future = self._errands.popleft()
            self.worker.post(errand, lambda result, error: self._returned(future, result, error))
        elif (job := self._take()) is not None:
            self._begin(job)
        else:
            self._active = False
            if self._idle is not None and not self._idle.done():
                self._idle.set_result(None)

    def _returned(
        self, future: "asyncio.Future[Any]", result: Any, error: BaseException | None
    ) -> None:
        if not future.done():
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        self._loop.call_soon(self._next)

    def _take(self) -> Job | None:
        """Return the next job that is still wanted and in time, and whose site is open; refuse the
        others. By turns, what closes a site overtakes what had come before, so it is asked here,
        where nothing comes in between any more."""
        while True:
            job = self._alone.popleft() if self._alone else self._queue.take()
            if job is None:
                return None
            if job.future.done():
                continue  # its caller has gone
            now = machine.monotonic()
            self._pressure.waited(now - job.began, now)
            job.began = now
            try:
                if now > job.deadline:
                    raise late()
                self._fence.check_write(job.site, job.across)
            except Problem as refusal:
                job.refuse(job.doubt or refusal)
            else:
                return job

    def _begin(self, job: Job) -> None:
        """Open the transaction of a batch whose first job is `job`."""
        self._batch_max = 1 if job.trouble is not None else BATCH_JOBS
        self.vanished = None
        try:
            self.execute("BEGIN IMMEDIATE")
        except apsw.BusyError:
            self.worker.post(self._begin_patiently, lambda _, error: self._begun(job, error))
        except apsw.Error as error:
            self._begun(job, error)
        else:
            self._begun(job, None)

    def _begin_patiently(self) -> None:
        self.connection.set_busy_timeout(LOCK_WAIT_MS)
        try:
            self.execute("BEGIN IMMEDIATE")
        finally:
            self.connection.set_busy_timeout(0)

    def _begun(self, job: Job, error: BaseException | None) -> None:
        if error is not None:
            job.refuse(job.doubt or translate(error))
            self._loop.call_soon(self._next)
            return
        self._changes = self.connection.total_changes()
        self._batch_ends = machine.monotonic() + BATCH_S
        self._run(job)

    def _run(self, job: Job | None) -> None:
        """Run jobs until the batch is full, the queue is empty, or one of them waits."""
        while job is not None:
            session = WriteSession(self, job.deadline)
            self._batch.append(job)
            try:
                self.execute("SAVEPOINT job")
                ended, outcome = job.context.run(_start, job.body, session)
            except BaseException as error:  # its caller gets it, whatever it is
                self._end(job, session, None, error)
            else:
                if not ended:
                    self._wait(job, session, outcome)
                    return
                self._end(job, session, outcome, None)
            job = self._another()
        self._commit()

    def _another(self) -> Job | None:
        """Return the job that runs next in this batch, if it goes on."""
        if (
            self.vanished is not None
            or len(self._batch) >= self._batch_max
            or self._errands
            or machine.monotonic() > self._batch_ends
        ):
            return None
        return self._take()

    def _wait(self, job: Job, session: WriteSession, wait: Wait[Any]) -> None:
        """Go on with a job when its statement in the thread is done."""

        def go_on(future: "asyncio.Future[Any]") -> None:
            error = future.exception()
            value = None if error is not None else future.result()
            try:
                ended, outcome = job.context.run(drive_now, session.coro, value, error)
            except BaseException as raised:  # its caller gets it, whatever it is
                self._end(job, session, None, raised)
            else:
                if not ended:
                    self._wait(job, session, outcome)
                    return
                self._end(job, session, outcome, None)
            self._run(self._another())

        wait.awaitable.add_done_callback(go_on)

    def _end(
        self, job: Job, session: WriteSession, value: Any, error: BaseException | None
    ) -> None:
        """Close a job's savepoint and keep what to answer."""
        session.end()
        self._queue.charge(job.site, machine.monotonic() - job.began)
        job.value, job.error, job.position = value, error, session.position
        if self.vanished is not None:
            return
        try:
            if error is not None:
                self.execute("ROLLBACK TO job")
            self.execute("RELEASE job")
        except apsw.Error as failure:
            self.vanished = translate(failure)

    # ---- its commit

    def _commit(self) -> None:
        if self.vanished is None:
            if self.connection.total_changes() == self._changes:
                self._committed(self._commit_now(), None)  # nothing was written: no fsync
                return
            try:
                self._reached = self._read_position()
            except apsw.Error as error:
                self.vanished = translate(error)
            else:
                self.worker.post(self._commit_now, self._committed)
                return
        if self.connection.in_transaction:
            self.worker.post(self._roll_back, lambda _, error: self._failed(error))
        else:
            self._failed(None)

    def _commit_now(self) -> BaseException | None:
        """Commit, and return how that failed; then there is no transaction any more."""
        try:
            self.execute("COMMIT")
        except Exception as error:  # told to everybody in the batch
            self._roll_back()
            return translate(error)
        return None

    def _roll_back(self) -> None:
        if self.connection.in_transaction:
            self.execute("ROLLBACK")

    def _committed(self, failure: BaseException | None, error: BaseException | None) -> None:
        """Answer the batch: its transaction is on the disk, or it is not there."""
        failure = failure or error
        if failure is not None:
            self.vanished = failure
            self._failed(None)
            return
        batch, self._batch = self._batch, []
        changed = self.connection.total_changes() != self._changes
        if changed:
            self._position = self._reached
        position = self._position
        for job in batch:
            if job.error is not None:
                job.refuse(job.error)
                job.error = None  # it holds frames that hold the job
            elif not job.future.done():
                job.future.set_result(Committed(job.value, job.position or position))
        if changed:
            self._tell_committed()
        self._loop.call_soon(self._next)

    def _failed(self, error: BaseException | None) -> None:
        """Nothing of the batch was kept and nobody was answered: have each job run again alone."""
        batch, self._batch = self._batch, []
        failure = self.vanished or error or StorageFailed()
        if len(batch) == 1:
            batch[0].refuse(batch[0].doubt or failure)
        else:
            for job in batch:
                job.trouble = failure
            self._alone.extendleft(reversed(batch))
        self._loop.call_soon(self._next)


def _start(body: Body[Any], session: WriteSession) -> tuple[bool, Any]:
    session.coro = body(session)
    return drive_now(session.coro)
