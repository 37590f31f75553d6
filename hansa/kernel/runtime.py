"""Runtime: services, a storage and a directory of sites, put together in one process.

What must never happen here: a way to run a handler that skips the permission, the site, the
deadline or the key.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import msgspec

from hansa.kernel import actions, advance, calling, codec, commands, contracts, machine, pruning
from hansa.kernel.actions import Action, Settled, Unknown
from hansa.kernel.admission import admit, site_of
from hansa.kernel.answer import Answer, bounded
from hansa.kernel.caller import SYSTEM, Caller, Principal
from hansa.kernel.catalog import event_name
from hansa.kernel.clock import Clock, MachineClock, site_now_us
from hansa.kernel.commands import Commanded, deadline_in, execute
from hansa.kernel.compiler import Statements
from hansa.kernel.context import Context
from hansa.kernel.dispatch import Dispatcher
from hansa.kernel.due import NEVER_US, DueRow, DueRunner
from hansa.kernel.fence import STATES
from hansa.kernel.finishing import Finisher
from hansa.kernel.load import Background, Load
from hansa.kernel.observe.recorder import Recorder
from hansa.kernel.operation import INTERNAL, PUBLIC, Operation
from hansa.kernel.position import Position
from hansa.kernel.problems import Denied, NotFound, problem_of
from hansa.kernel.relations import Authorizer, RelationAuthorizer
from hansa.kernel.run import Run
from hansa.kernel.sealing import Sealer
from hansa.kernel.service import BACKOFF_S, Service, Subscription, heard_in
from hansa.kernel.site import EPOCH_FIRST, PLATFORM_SITE, SiteDirectory, SiteInfo, slot_of
from hansa.kernel.storage import PLATFORM, Committed, Session, Storage
from hansa.kernel.stored import Stored
from hansa.kernel.ticks import Ticker

if TYPE_CHECKING:
    from hansa.kernel.remote.calls import Remote
    from hansa.kernel.remote.clocks import Clocks

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

logger = logging.getLogger("hansa")


class Runtime:
    """The services of one process, running on one cell."""

    def __init__(
        self,
        services: Iterable[Service],
        storage: Storage,
        directory: SiteDirectory,
        sealer: Sealer,
        *,
        clock: Clock | None = None,
        authorizer: Authorizer | None = None,
        resources: Mapping[type, Any] | None = None,
        as_if_remote: bool = False,
        remote: "Remote | None" = None,
        hosted: Iterable[str] | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        """Put the parts together; `start` brings them to life.

        `resources` is what actions may use of the world, by type. `as_if_remote` encodes and
        decodes every `ctx.call`, so that nothing is shared: for development and tests. `hosted`
        names the services that run here; the others are known, and asked through `remote`.
        `recorder` notes what is done here.
        """
        self.services = list(services)
        self.recorder = recorder
        self.storage = storage
        if recorder is not None:
            recorder.observe(storage)
        self.directory = directory
        self.sealer = sealer
        self.clock: Clock = clock or MachineClock()
        self.authorizer: Authorizer = authorizer or RelationAuthorizer()
        self.resources: dict[type, Any] = dict(resources or {})
        self.as_if_remote = as_if_remote
        self.statements = Statements(storage.dialect)
        self.operations = [op for one in self.services for op in one.operations.values()]
        self.by_id: dict[str, Operation[..., Any]] = {op.id: op for op in self.operations}
        self.actions = {a.id: a for one in self.services for a in one.actions.values()}
        self.remote = remote
        everything = frozenset(one.name for one in self.services)
        self._hosted = everything if hosted is None else frozenset(hosted)
        self.is_whole = self._hosted >= everything
        """Whether all services run here."""
        self.shares_sites = remote is not None and remote.shares_sites
        """Whether some of the sites are in other cells that serve the same."""
        here = [one for one in self.services if one.name in self._hosted]
        self.schedules = {s.name: s for one in here for s in one.schedules}
        near = everything if remote is None else set(remote.placement.services_of(remote.own.cell))
        self.cell_schedules = [s for one in self.services if one.name in near
                               for s in one.schedules]  # fmt: skip
        """Those of all processes of this cell."""
        self.due_work = {w.name: w for one in here for w in one.due_work.values()}
        self.due_work |= {s.name: s.as_due_work() for s in self.schedules.values()}
        self.subscriptions: dict[str, list[Subscription]] = {}
        subscribed = [one for one in heard_in(self.services) if one.service in self._hosted]
        self.listening = [one for one in subscribed if one.event is None]
        for one in subscribed:
            if one.event is not None:
                self.subscriptions.setdefault(event_name(one.event), []).append(one)
        self.stored = Stored(self.services, sealer)
        self.holder = machine.random_bytes(8).hex()
        """The name under which this process has leases."""
        self.due_pending_us = NEVER_US
        self.load = Load(storage.reading, storage.writing)
        self.background = Background(self.load)
        self.dispatcher = Dispatcher(self)
        self.due = DueRunner(self)
        self.ticker = Ticker(self)
        self.pruner = pruning.Pruner(self)
        self.finisher = Finisher(self)
        self.clocks: Clocks | None = None
        """What moves test clocks where services are in several processes."""
        self._advances: dict[str, asyncio.Task[datetime]] = {}
        self._fence_asked = self._fence_known = 0
        self._state = "starting"

    # ---- life

    async def start(self, *, background: bool = True) -> None:
        """Begin to serve; without `background` no events, due work or schedules run here."""
        await self.load_fence()
        if background:
            self.storage.on_commit(self._committed)
            await self.dispatcher.start()
            await self.due.start()
            await self.ticker.start()
            await self.pruner.start()
            await advance.resume(self)
        self._state = ""

    async def load_fence(self) -> None:
        """Know which sites are closed here, as it was when this was called, or later: what was
        asked for earlier and comes later is not taken for news."""
        self._fence_asked = asked = self._fence_asked + 1
        rows = await self.storage.read(
            lambda session: session.fetch(STATES),
            site=PLATFORM, deadline=deadline_in(30), across=True,
        )  # fmt: skip
        if asked > self._fence_known:
            self._fence_known = asked
            self.storage.fence.load(rows)

    async def has_left(self, site: str) -> bool:
        """Tell whether a site is in another cell, or erased, and not only remembered to be: where
        one has just come the rows are sooner there than this process knows."""
        await self.load_fence()
        return self.storage.fence.is_left(site)

    def drain(self) -> None:
        """Say that this process is about to stop, so that no new requests are sent here."""
        self._state = "draining"

    async def stop(self) -> None:
        """Stop the loops; the storage stays open for who opened it."""
        self._state = "stopped"
        await advance.gather_advances(self._advances)
        await self.pruner.stop()
        await self.ticker.stop()
        await self.due.stop()
        await self.dispatcher.stop()

    def ready(self) -> str:
        """Return why this process takes no requests, or nothing when it does."""
        return self._state

    def _committed(self) -> None:
        """Have the loops look after each commit, also of one whose caller has gone meanwhile.

        On PostgreSQL due work is looked for each second anyway, and a look costs a round trip.
        """
        self.dispatcher.wake()
        if self.storage.poll_s is None:
            self.due.wake()

    def wake(self) -> None:
        """Tell the due loop of this process that the last commit has left something for it."""
        if self.due_pending_us < NEVER_US:
            self.due_pending_us = NEVER_US
            self.due.wake()

    def retry_pending(self, ready_at_us: int) -> None:
        """Tell that a delivery waits for another try."""
        self.dispatcher.wake_retry()

    # ---- who and where

    async def site(self, site: str) -> SiteInfo:
        """Return a site by its id; one that is gone keeps its slot for what is left of it."""
        if site == PLATFORM:
            return PLATFORM_SITE
        info = await self.directory.by_id(site)
        return info or SiteInfo(site, slot_of(site), EPOCH_FIRST, state="gone")

    async def authenticate(self, authorization: str, host: str, site: str) -> Caller:
        """Return who calls which site (see `SiteDirectory.authenticate`)."""
        return await self.directory.authenticate(authorization, host, site)

    async def _admit(self, operation: Operation[..., Any], caller: Caller) -> SiteInfo:
        """Check the permission and the site of a call from outside; return the site."""
        admit(operation, caller.principal)
        if operation.scope == "platform":
            return PLATFORM_SITE
        if caller.site == PLATFORM:
            return site_of(caller, None)
        return site_of(caller, await self.directory.by_id(caller.site))

    def is_home(self, site: SiteInfo) -> bool:
        """Tell whether a site is placed in this cell, of all that serve the same."""
        return self.remote is None or self.remote.is_home(site.cell)

    def serves(self, service: str) -> bool:
        """Tell whether a service runs here."""
        return service in self._hosted

    # ---- calls from outside

    async def invoke(
        self,
        operation: Operation[..., Any],
        caller: Caller,
        arguments: dict[str, Any],
        *,
        key: str | None = None,
        request_hash: str = "",
        deadline: float = 0.0,
        trace: str = "",
        token: str = "",
    ) -> Answer:
        """Run an operation for a caller, here or where it is placed, and return its encoded answer.
        Raises Problem."""
        if self.is_whole and self.remote is None:
            return await self.invoke_here(
                operation, caller, arguments, key=key, request_hash=request_hash,
                deadline=deadline, trace=trace, token=token,
            )  # fmt: skip
        return await calling.invoke(
            self, operation, caller, arguments, key=key, request_hash=request_hash,
            deadline=deadline, trace=trace, token=token,
        )  # fmt: skip

    async def invoke_here(
        self,
        operation: Operation[..., Any],
        caller: Caller,
        arguments: dict[str, Any],
        *,
        key: str | None = None,
        request_hash: str = "",
        deadline: float = 0.0,
        trace: str = "",
        token: str = "",
    ) -> Answer:
        """Run an operation of a service that runs here. Raises Problem."""
        site = await self._admit(operation, caller)
        if token or self.shares_sites:
            site = await calling.as_known(self, operation, site, token)
        run = self._run(operation, site, caller.principal, deadline, trace, arguments)
        if operation.kind == "query":
            value = await self.query(operation, run, arguments)
            return Answer(operation.status, bounded(codec.encode(value)), [])
        if operation.kind == "action":
            action = self.actions[operation.id]
            settled = await self.finisher.run(action, run, arguments, key, request_hash)
            return self._answer_of(action, settled)
        committed = await execute(self, operation, run, arguments, key=key, request=request_hash)
        return self._answer(committed, site)

    def _run(
        self,
        operation: Operation[..., Any],
        site: SiteInfo,
        principal: Principal,
        deadline: float,
        trace: str,
        arguments: dict[str, Any],
    ) -> Run:
        serial_by = None
        if operation.serial_by is not None:
            chosen = {name: arguments[name] for name in operation.serial_names}
            serial_by = f"{operation.service}:{site.id}:{operation.serial_by(**chosen)}"
        return Run(
            site, principal, operation.id, operation.service, trace,
            deadline or deadline_in(operation.deadline_s), serial_by=serial_by,
        )  # fmt: skip

    def _answer(self, committed: Committed[Commanded], site: SiteInfo) -> Answer:
        done = committed.value
        # Of a repeated answer the number is no longer known and 0, which every read has seen; the
        # epoch still keeps a cell that the site has left from answering with what it had.
        position = Position(self.storage.cell, site.epoch, committed.position)
        headers = [("hansa-position", str(position))]
        if done.replayed:
            headers.append(("idempotency-replayed", "true"))
        return Answer(done.status, done.answer, headers)

    def _answer_of(self, action: Action[..., Any, Any, Any], done: "Settled | str") -> Answer:
        if isinstance(done, str):
            body = codec.encode({"attempt": done, "state": "open"})
            return Answer(202, body, [("location", f"/attempts/{done}"), ("retry-after", "1")])
        kind = "application/problem+json" if done.status >= 400 else "application/json"
        headers = [("idempotency-replayed", "true")] if done.replayed else []
        return Answer(done.status, done.answer, headers, kind)

    async def query(
        self, operation: Operation[..., Any], run: Run, arguments: dict[str, Any]
    ) -> Any:
        """Run a query of a service that runs here, for who may."""

        async def body(session: Session) -> Any:
            now_us = self.clock.now_us()
            if run.site.test_clock:
                now_us = await site_now_us(session, run.site, now_us)
            return await operation.fn(Context(self, run, session, None, now_us), **arguments)

        return await self.storage.read(
            body, site=run.site.id, deadline=run.deadline, shape=operation.id
        )

    # ---- calls between processes

    def way(self, operation: Operation[..., Any]) -> "Remote":
        """Return the way to other processes. Raises NotFound where there is none."""
        if self.remote is None:
            raise NotFound(f"{operation.id} is not served here.", slug="not-served-here")
        return self.remote

    async def answer_inside(
        self,
        operation: Operation[..., Any],
        site: str,
        principal: Principal,
        arguments: dict[str, Any],
        *,
        deadline: float,
        trace: str,
    ) -> Any:
        """Run a query that a handler of another process calls. Raises Problem."""
        if operation.kind != "query":
            raise Denied(f"{operation.id} is no query.")
        if operation.needs not in (PUBLIC, INTERNAL):
            admit(operation, principal)
        run = Run(
            await self.site(site), principal, operation.id, operation.service, trace, deadline
        )
        return await self.query(operation, run, arguments)

    # ---- calls in process

    async def call(self, context: Context, operation: Operation[P, R], args: Any, kwargs: Any) -> R:
        """Run a query for another handler, with the caller's principal, deadline and trace."""
        value: R = await calling.call(self, context, operation, args, kwargs)
        return value

    async def do(
        self,
        operation: Operation[P, R],
        caller: Caller,
        arguments: dict[str, Any],
        *,
        key: str | None = None,
        deadline: float = 0.0,
    ) -> R:
        """Run an operation in process and return its value, for the command line and tests.

        The same checks as from outside, without the encoding of the transport. Raises Problem.
        """
        if operation.service not in self._hosted or self.shares_sites:
            answer = await self.invoke(operation, caller, arguments, key=key, deadline=deadline)
            if answer.status == 202:
                raise Unknown("the attempt is still open")
            there: R = self.way(operation).value(answer, operation.returns)
            return there
        site = await self._admit(operation, caller)
        run = self._run(operation, site, caller.principal, deadline, "", arguments)
        if operation.kind == "query":
            value: R = await self.query(operation, run, arguments)
            return value
        if operation.kind == "action":
            action = self.actions[operation.id]
            settled = await self.finisher.run(action, run, arguments, key, "")
            value = self._value_of(action, settled)
            return value
        committed = await execute(self, operation, run, arguments, key=key, request="")
        done = committed.value
        if done.replayed:
            value = codec.decode(done.answer, operation.returns)
            return value
        value = done.value
        return value

    def _value_of(self, action: Action[..., Any, Any, Any], settled: "Settled | str") -> Any:
        if isinstance(settled, str):
            raise Unknown(f"the attempt {settled} is still open")
        if settled.status >= 400:
            raise problem_of(msgspec.json.decode(settled.answer), settled.status)
        if settled.value is not None:
            return settled.value
        if settled.version:
            name = contracts.answer_name(action.id)
            return self.stored.read(name, settled.version, settled.answer)
        return codec.decode(settled.answer, action.returns)

    async def commit(
        self,
        work: Callable[[Context], Awaitable[T]],
        *,
        site: str,
        cause: str,
        service: str,
        trace: str = "",
        trigger: str = "",
        serial_by: str | None = None,
    ) -> T:
        """Run kernel work as one transaction of a site, with a context."""
        run = Run(
            await self.site(site), SYSTEM, cause, service, trace, deadline_in(30),
            trigger=trigger, serial_by=serial_by,
        )  # fmt: skip
        return (await commands.commit(self, run, work)).value

    # ---- actions

    def backoff_of(self, row: DueRow) -> tuple[float, ...]:
        """Return the waits of a due row that finishes an attempt or runs an operation."""
        if actions.is_resume(row.name):
            # Money may hang on it: it is asked again for two days before a person must look.
            named = msgspec.json.decode(row.arguments).get("action", "")
            action = self.actions.get(named)
            return (*(action.backoff_s if action else BACKOFF_S), *([3600.0] * 48))
        return BACKOFF_S

    # ---- test clocks

    async def advancing(self, site: SiteInfo) -> "asyncio.Task[datetime]":
        """Return the task that moves a site's clock to where it was aimed; one per site."""
        task = self._advances.get(site.id)
        if task is None or task.done():
            task = asyncio.create_task(advance.arrive(self, site), name=f"hansa-clock-{site.id}")
            self._advances[site.id] = task
            task.add_done_callback(lambda _: self._advances.pop(site.id, None))
        return task

    async def advance(self, site: str, to: datetime) -> datetime:
        """Move a test clock and do all that falls due on the way; return where it stands."""
        info = await self.site(site)
        await advance.aim(self, info, to)
        return await asyncio.shield(await self.advancing(info))
