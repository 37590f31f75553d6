"""Due work: rows that say what is to be done and when, done by whichever process comes first.

A row is claimed with a lease, run as a command that deletes it with its effects, and tried again
with backoff when it fails; after the last try it is parked with its error. Rows of a site on a test
clock are not touched here: the clock takes them when it is advanced (see `advance`).
What must never happen here: due work that is lost, or that has effect twice.
"""

import asyncio
import logging
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

from hansa.kernel import actions, codec, delivery, due_turns, machine
from hansa.kernel.caller import SYSTEM
from hansa.kernel.commands import deadline_in, execute, submit, work_in
from hansa.kernel.contracts import ContractUnknown
from hansa.kernel.deliveries import MACHINE_TROUBLE, after_failure, error_text
from hansa.kernel.due_turns import DueTurns, Place
from hansa.kernel.fence import CLOSED
from hansa.kernel.observe.recorder import work
from hansa.kernel.operation import Operation
from hansa.kernel.problems import Denied
from hansa.kernel.relations import sql
from hansa.kernel.residence import NOT_AWAY
from hansa.kernel.run import Run
from hansa.kernel.storage import PLATFORM, Session
from hansa.kernel.structs import Struct
from hansa.kernel.whereabouts import settled

if TYPE_CHECKING:
    from hansa.kernel.runtime import Runtime

logger = logging.getLogger("hansa.due")

RUNNING_MAX = 64
"""Rows in hand at once that only need the database."""
WORLD_MAX = 256
"""Rows in hand at once that ask the world, and so may take long; beside those above, since a slow
world outside must not hold up what only needs the database."""
STOP_S = 15.0
"""How long a stop waits for the world."""
LEASE_S = 20.0
DEADLINE_S = 12.0
"""Shorter than the lease, so that a row is never in two hands."""
TROUBLE_S = 1.0
CLOSED_S = 0.05
"""How long to wait for a site that is closed for a moment."""
NEVER_US = 2**62

COLUMNS = "id, site, name, version, arguments, run_at_us, attempt, principal, trace"

# A claimed row is ready again when its lease is over, so that one index tells what comes next.
_CLAIM = f"""UPDATE hansa_due SET holder = ?1, lease_until_us = ?2, ready_at_us = ?2
WHERE (site, id) IN (SELECT site, id FROM hansa_due
  WHERE state = 'waiting' AND ready_at_us <= ?3 AND lease_until_us <= ?3
  {NOT_AWAY.format(table="hansa_due")} {{which}} {{skip}})
RETURNING {COLUMNS}"""
_SOONEST_FIRST = "{mine} {no_world} ORDER BY ready_at_us LIMIT ?4"
_NAMED = {
    "sqlite": """AND (site, id) IN (
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?4))""",
    "postgresql": "AND (site, id) IN (SELECT * FROM unnest(?4::text[], ?5::text[]))",
}
_LOOK = f"""SELECT ready_at_us, site, id FROM hansa_due
WHERE state = 'waiting' AND ready_at_us <= ?1 AND (ready_at_us, site, id) > (?2, ?3, ?4)
{NOT_AWAY.format(table="hansa_due")} {{mine}} {{no_world}}
ORDER BY ready_at_us, site, id LIMIT {due_turns.LOOK_MAX}"""
_SOONEST = f"""SELECT ready_at_us FROM hansa_due
WHERE state = 'waiting' AND ready_at_us IS NOT NULL {{mine}} {{no_world}}
{NOT_AWAY.format(table="hansa_due")}
ORDER BY ready_at_us LIMIT 1"""
# Of several processes on a database each does the due work of the services that run there.
_MINE = {
    "sqlite": "AND name IN (SELECT value FROM json_each(?{place}))",
    "postgresql": "AND name = ANY (?{place}::text[])",
}
_TAKE = "DELETE FROM hansa_due WHERE site = ?1 AND id = ?2 AND holder = ?3"
_FAIL = """UPDATE hansa_due SET state = ?4, attempt = ?5, ready_at_us = ?6, error = ?7, holder = '',
lease_until_us = 0 WHERE site = ?1 AND id = ?2 AND holder = ?3"""
# One process owns a SQLite file: what was claimed or asked when it starts, was by a dead one.
_ORPHANS = """UPDATE hansa_due SET holder = '', lease_until_us = 0,
ready_at_us = min(ready_at_us, ?2)
WHERE state = 'waiting' AND (lease_until_us > 0 OR substr(name, 1, length(?1)) = ?1)"""


class DueRow(Struct):
    """A row of `hansa_due`."""

    id: str
    site: str
    name: str
    version: int
    arguments: bytes
    run_at_us: int
    attempt: int
    principal: str
    trace: str


class DueRunner:
    """The loop that does due work in a process."""

    def __init__(self, runtime: "Runtime") -> None:
        self._runtime = runtime
        self._awake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._asking: set[asyncio.Task[None]] = set()
        resumed = {actions.resume_name(service.name) for service in runtime.services}
        sent = {one.id for one in runtime.operations if _is_sent(runtime, one)}
        self._world = {*resumed, *runtime.actions, *sent}
        self._names = _names(runtime)
        names = ", ".join(f"'{name}'" for name in sorted(self._world))
        self._no_world = f"AND name NOT IN ({names})"  # the names of operations have no quotes
        self._full = False
        """Whether there is no room for another row, until one of those in hand has ended."""
        self._backlog: DueTurns | None = None
        """What is known of it while more is due than can be taken in hand."""
        self._stopping = False

    async def start(self) -> None:
        """Begin; what became due while no process ran is done first."""
        if self._runtime.storage.poll_s is None:
            await self._adopt()
        self._task = asyncio.create_task(self._follow(), name="hansa-due")

    async def _adopt(self) -> None:
        """Take over what the process before this one had in hand."""
        now_us = self._runtime.clock.now_us()

        async def body(session: Session) -> None:
            await session.run(_ORPHANS, (actions.RESUME, now_us))

        await self._runtime.storage.write(
            body, site=PLATFORM, deadline=deadline_in(DEADLINE_S), across=True
        )

    async def stop(self) -> None:
        """Finish what is claimed, then stop."""
        self._stopping = True
        self._awake.set()
        if self._task:
            await self._task
        await asyncio.gather(*self._running)
        if self._asking:
            _, late = await asyncio.wait(self._asking, timeout=STOP_S)
            for task in late:  # the next process takes their attempts up
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def wake(self) -> None:
        """Tell that there may be a row that is due sooner than the others."""
        self._awake.set()

    async def _follow(self) -> None:
        while not self._stopping:
            self._awake.clear()
            try:
                free = self._runtime.load.background(RUNNING_MAX) - len(self._running)
                self._full = free <= 0
                rows = [] if self._full else await self._claim(free)
                for row in rows:
                    self._begin(row)
                if rows:
                    continue
                wait_s = None if self._full else await self._until_next()
            except Exception:
                logger.exception("due work cannot be read; trying again")
                wait_s = TROUBLE_S
            try:
                async with asyncio.timeout(wait_s):
                    await self._awake.wait()
            except TimeoutError:
                pass

    def _begin(self, row: DueRow) -> None:
        task = asyncio.create_task(
            self.run(row, self._runtime.holder), name=f"hansa-due-{row.name}"
        )
        (self._asking if row.name in self._world else self._running).add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        full = self._full or len(self._asking) >= WORLD_MAX
        self._running.discard(task)
        self._asking.discard(task)
        if full:
            self._awake.set()

    def _without_world(self) -> str:
        """Return what leaves rows that ask the world to later, while so many of them do."""
        return self._no_world if len(self._asking) >= WORLD_MAX else ""

    async def _claim(self, count: int) -> list[DueRow]:
        """Take rows in hand: the soonest, or by turns of the sites when that was not all."""
        if self._backlog is not None:
            rows = await self._claim_by_turns(self._backlog, count)
            if rows:
                return rows
            self._backlog = None
        now_us = self._runtime.clock.now_us()
        if await self._soonest() > now_us:
            return []
        mine, names = self._mine(5)
        which = _SOONEST_FIRST.format(mine=mine, no_world=self._without_world())
        rows = await self._claim_those(which, now_us, (count, *names))
        if len(rows) == count:
            self._backlog = DueTurns()
        return rows

    async def _claim_by_turns(self, backlog: DueTurns, count: int) -> list[DueRow]:
        now_us = self._runtime.clock.now_us()
        if len(backlog) < count:
            backlog.saw(await self._look(now_us, due_turns.FIRST))
        now = machine.monotonic()
        if (beyond := backlog.beyond(now)) is not None:
            backlog.saw_beyond(await self._look(now_us, beyond), now)
        taken = backlog.take(count)
        if not taken:
            return []
        dialect = self._runtime.storage.dialect
        if dialect == "sqlite":
            named: tuple[Any, ...] = (codec.encode(taken).decode(),)
        else:
            named = tuple(zip(*taken, strict=True))
        return await self._claim_those(_NAMED[dialect], now_us, named)

    async def _look(self, now_us: int, after: Place) -> list[Place]:
        mine, names = self._mine(5)
        look = _LOOK.format(mine=mine, no_world=self._without_world())

        async def body(session: Session) -> list[Place]:
            rows = await session.fetch(sql(session, look), (now_us, *after, *names))
            return [(row[0], row[1], row[2]) for row in rows]

        return await self._runtime.storage.read(
            body, site=PLATFORM, deadline=deadline_in(DEADLINE_S), across=True, shape="due.look"
        )

    async def _claim_those(
        self, which: str, now_us: int, arguments: tuple[Any, ...]
    ) -> list[DueRow]:
        runtime = self._runtime
        skip = "FOR UPDATE SKIP LOCKED" if runtime.storage.dialect == "postgresql" else ""
        claim = _CLAIM.format(which=which, skip=skip)
        until_us = now_us + int(LEASE_S * 1_000_000)

        async def body(session: Session) -> list[DueRow]:
            given = (runtime.holder, until_us, now_us, *arguments)
            rows = await session.fetch(sql(session, claim), given)
            return [DueRow(*row) for row in rows]

        committed = await runtime.storage.write(
            body, site=PLATFORM, deadline=deadline_in(DEADLINE_S), across=True
        )
        return sorted(committed.value, key=lambda row: (row.run_at_us, row.id))

    def _mine(self, place: int) -> tuple[str, tuple[Any, ...]]:
        """Return the condition on what this process does, and its argument at a place."""
        names = self._names
        if names is None:
            return "", ()
        dialect = self._runtime.storage.dialect
        given: Any = codec.encode(names).decode() if dialect == "sqlite" else names
        return _MINE[dialect].format(place=place), (given,)

    async def _soonest(self) -> int:
        mine, names = self._mine(1)
        statement = _SOONEST.format(mine=mine, no_world=self._without_world())

        async def body(session: Session) -> int:
            rows = await session.fetch(sql(session, statement), names)
            found: int = rows[0][0] if rows else NEVER_US
            return found

        return await self._runtime.storage.read(
            body, site=PLATFORM, deadline=deadline_in(DEADLINE_S), across=True, shape="due"
        )

    async def _until_next(self) -> float | None:
        soonest_us = await self._soonest()
        poll_s = 1.0 if self._runtime.storage.poll_s is not None else None
        if soonest_us >= NEVER_US:
            return poll_s
        wait_s = max(0.0, (soonest_us - self._runtime.clock.now_us()) / 1_000_000)
        return wait_s if poll_s is None else min(wait_s, poll_s)

    async def run(self, row: DueRow, holder: str) -> None:
        """Do a claimed row, or note why it failed. Where not even that can be noted the lease
        runs out, and the row is taken up again."""
        end = deadline_in(DEADLINE_S)
        while not await self._try(row, holder):
            if machine.monotonic() > end:
                break
            await asyncio.sleep(CLOSED_S)

    async def _try(self, row: DueRow, holder: str) -> bool:
        """Do a row once; tell whether that is all, or its site is closed for a moment."""
        try:
            await do(self._runtime, row, holder)
        except CLOSED:
            return await self._runtime.has_left(row.site)  # it is done where the site is
        except Exception as error:
            if not isinstance(error, actions.Unknown):
                logger.warning("due work %s %s failed: %r", row.name, row.id, error)
            try:
                await fail(self._runtime, row, holder, error)
            except CLOSED:
                return await self._runtime.has_left(row.site)
            except Exception:
                logger.exception("the failure of due work %s %s cannot be noted", row.name, row.id)
        return True


def _is_sent(runtime: "Runtime", operation: Operation[..., Any]) -> bool:
    """Tell whether a scheduled operation is sent on, to the cell where its service runs."""
    return runtime.remote is not None and runtime.remote.is_beyond(operation.service)


def _names(runtime: "Runtime") -> list[str] | None:
    """Return the names of the due work that this process does, or sends; None for all."""
    if runtime.is_whole:
        return None
    hosted = [one.name for one in runtime.services if runtime.serves(one.name)]
    resumed = [actions.resume_name(service) for service in hosted]
    operations = [
        one.id for one in runtime.operations if one.service in hosted or _is_sent(runtime, one)
    ]
    return sorted({*runtime.due_work, *operations, *resumed})


async def do(runtime: "Runtime", row: DueRow, holder: str) -> None:
    """Do a row, and have it recorded where there is a recorder."""
    service = row.name.removeprefix(actions.RESUME).partition(".")[0]
    with work(runtime.recorder, "due", row.name, service, row.site, row.trace) as segment:
        if segment is not None:
            row = msgspec.structs.replace(row, trace=segment.trace.parent)
        await _do(runtime, row, holder)


async def _do(runtime: "Runtime", row: DueRow, holder: str) -> None:
    """Do a row: a handler of due work in one transaction with its deletion, or what it names."""
    if actions.is_resume(row.name):
        await actions.finish(
            runtime, row.site, codec.decode(row.arguments, dict[str, str])["attempt"]
        )
        return
    named = runtime.due_work.get(row.name)
    if named is None:
        await _do_operation(runtime, row, holder)
        return
    run = await run_of(runtime, row, named.service)
    arguments = runtime.stored.due_arguments(named, row)

    async def body(session: Session) -> None:
        taken = await session.run(sql(session, _TAKE), (row.site, row.id, holder))
        if taken:
            await work_in(runtime, run, session, lambda context: named.fn(context, **arguments))

    await submit(runtime, run, body)


async def _do_operation(runtime: "Runtime", row: DueRow, holder: str) -> None:
    """Run a scheduled command or action under the row's own key, here or on its cell, then delete
    the row: when the process dies in between, the key makes the second run the first's answer."""
    operation = runtime.by_id.get(row.name)
    if operation is None:
        raise ContractUnknown(f"No service here declares {row.name}")
    if operation.scope == "platform" and row.site != PLATFORM:  # it came in a site's file
        raise Denied(f"{row.name} is not for a site to do.")
    run = await run_of(runtime, row, operation.service)
    arguments = runtime.stored.operation_arguments(operation, row.arguments)
    way = runtime.remote
    if way is not None and way.is_beyond(operation.service):
        await settled(
            runtime, row.site, run.deadline,
            lambda cell: way.invoke(
                operation, row.site, SYSTEM, arguments, inside=True, key=key_of(row),
                deadline=run.deadline, trace=row.trace, cell=cell,
            ),
        )  # fmt: skip
    else:
        await run_keyed(runtime, operation, run, arguments, key_of(row))

    async def body(session: Session) -> None:
        await session.run(sql(session, _TAKE), (row.site, row.id, holder))

    await submit(runtime, run, body)


def key_of(row: DueRow) -> str:
    """Return the key of a scheduled operation: the same for each try of a row, and another one
    when the row's name is used again for another instant or with other arguments."""
    digest = blake2b(row.arguments, digest_size=8).hexdigest()
    return f"{row.id}@{row.run_at_us}@{digest}"


async def run_keyed(
    runtime: "Runtime",
    operation: Operation[..., Any],
    run: Run,
    arguments: dict[str, Any],
    key: str,
) -> None:
    """Run a scheduled operation of a service that runs here; under a key it has effect once.
    Raises Problem."""
    if operation.kind == "action":
        await runtime.finisher.run(runtime.actions[operation.id], run, arguments, key, "due")
    else:
        await execute(runtime, operation, run, arguments, key=key, request="due")


async def run_of(runtime: "Runtime", row: DueRow, service: str, now_us: int = 0) -> Run:
    """Return for whom and when a row runs."""
    return Run(
        await runtime.site(row.site), SYSTEM, row.name, service, row.trace,
        deadline_in(DEADLINE_S), due_at_us=row.run_at_us, now_us=now_us, trigger=row.id,
    )  # fmt: skip


async def fail(runtime: "Runtime", row: DueRow, holder: str, error: BaseException) -> None:
    """Note a failed try: when the next one is, or that the row is parked."""
    work = runtime.due_work.get(row.name)
    backoff_s = work.backoff_s if work else runtime.backoff_of(row)
    now_us = runtime.clock.now_us()
    if isinstance(error, MACHINE_TROUBLE):
        state, attempt, ready_us = delivery.postponed(row.attempt, now_us, TROUBLE_S)
    else:
        state, attempt, ready_us = after_failure(error, row.attempt, now_us, backoff_s)
    run = await run_of(runtime, row, "kernel")
    arguments = (row.site, row.id, holder, state, attempt, ready_us, error_text(error))

    async def body(session: Session) -> None:
        await session.run(sql(session, _FAIL), arguments)

    await submit(runtime, run, body)
    if state == "parked":
        logger.error("due work %s %s is parked after %d tries", row.name, row.id, attempt)
