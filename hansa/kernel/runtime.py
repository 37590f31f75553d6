"""Runtime: services, a storage and a directory of sites, put together in one process.

What must never happen here: a way to run a handler that skips the permission, the site, the
deadline or the key.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, ParamSpec, TypeVar

import msgspec

from hansa.kernel import actions, advance, codec, commands, contracts, pruning
from hansa.kernel.actions import Action, Settled, Unknown
from hansa.kernel.admission import admit
from hansa.kernel.answer import Answer, bounded
from hansa.kernel.caller import SYSTEM, Caller, Principal
from hansa.kernel.catalog import event_name
from hansa.kernel.clock import Clock, MachineClock, site_now_us
from hansa.kernel.commands import Commanded, deadline_in, execute
from hansa.kernel.compiler import Statements
from hansa.kernel.context import Context
from hansa.kernel.database import Db
from hansa.kernel.dispatch import Dispatcher
from hansa.kernel.due import NEVER_US, DueRow, DueRunner
from hansa.kernel.log import LogEvent
from hansa.kernel.operation import INTERNAL, PUBLIC, Operation
from hansa.kernel.problems import Denied, Invalid, NotFound, Problem
from hansa.kernel.relations import Authorizer, RelationAuthorizer
from hansa.kernel.run import Run
from hansa.kernel.sealing import Sealer
from hansa.kernel.service import BACKOFF_S, DueWork, Schedule, Service, Subscription
from hansa.kernel.site import EPOCH_FIRST, PLATFORM_SITE, SiteDirectory, SiteInfo, slot_of
from hansa.kernel.storage import PLATFORM, Committed, Session, Storage
from hansa.kernel.ticks import Ticker

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

logger = logging.getLogger("hansa")

WAIT_S = 10.0
"""How long a caller waits for an attempt that is under way before it is told to ask again."""


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
    ) -> None:
        """Put the parts together; `start` brings them to life.

        `resources` is what actions may use of the world, by type. `as_if_remote` encodes and
        decodes every `ctx.call`, so that nothing is shared: for development and tests.
        """
        self.services = list(services)
        self.storage = storage
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
        self.schedules = {s.name: s for one in self.services for s in one.schedules}
        self.due_work = {w.name: w for one in self.services for w in one.due_work.values()}
        self.due_work |= {s.name: _as_due_work(s) for s in self.schedules.values()}
        self.subscriptions: dict[str, list[Subscription]] = {}
        for one in self.services:
            for subscription in one.subscriptions:
                self.subscriptions.setdefault(event_name(subscription.event), []).append(
                    subscription
                )
        self.reader = contracts.Reader(
            contracts.contracts_of(self.services), contracts.upcasters_of(self.services)
        )
        self.holder = secrets.token_hex(8)
        """The name under which this process has leases."""
        self.due_pending_us = NEVER_US
        self.dispatcher = Dispatcher(self)
        self.due = DueRunner(self)
        self.ticker = Ticker(self)
        self.pruner = pruning.Pruner(self)
        self._waiting: dict[str, asyncio.Future[Settled]] = {}
        self._advances: dict[str, asyncio.Task[datetime]] = {}
        self._state = "starting"

    # ---- life

    async def start(self, *, background: bool = True) -> None:
        """Begin to serve; without `background` no events, due work or schedules run here."""
        if background:
            self.storage.on_commit(self._committed)
            await self.dispatcher.start()
            await self.due.start()
            await self.ticker.start()
            await self.pruner.start()
            await advance.resume(self)
        self._state = ""

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
            raise Invalid(
                "Say which site is meant: by a key of it, its host, or the header Hansa-Site.",
                slug="site-missing",
            )
        info = await self.directory.by_id(caller.site)
        operator = caller.principal.home == PLATFORM and caller.principal.kind != "public"
        if info is None or info.state == "closed" or (info.state != "active" and not operator):
            raise NotFound("There is no such site.", slug="site-not-found")
        return info

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
        """Run an operation for a caller and return its encoded answer. Raises Problem."""
        site = await self._admit(operation, caller)
        run = self._run(operation, site, caller.principal, deadline, trace, arguments)
        if token:
            self._check_token(token)
        if operation.kind == "query":
            value = await self._query(operation, run, arguments)
            return Answer(operation.status, bounded(codec.encode(value)), [])
        if operation.kind == "action":
            action = self.actions[operation.id]
            settled = await self.begin_and_finish(action, run, arguments, key, request_hash)
            return self._answer_of(action, settled)
        committed = await execute(self, operation, run, arguments, key=key, request=request_hash)
        return self._answer(committed)

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

    def token(self, position: int) -> str:
        """Return the token of a position: `cell:epoch:position`."""
        return f"{self.storage.cell}:{EPOCH_FIRST}:{position}"

    def _check_token(self, token: str) -> None:
        """Accept a token of this or another cell. The primary has all that it has answered."""
        parts = token.split(":")
        if len(parts) != 3 or not (parts[1].isdecimal() and parts[2].isdecimal()):
            raise Invalid(
                "Hansa-Position is cell:epoch:position, as an answer gave it.",
                slug="invalid-position",
            )

    def _answer(self, committed: Committed[Commanded]) -> Answer:
        done = committed.value
        headers = [("hansa-position", self.token(committed.position))]
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

    async def _query(
        self, operation: Operation[..., Any], run: Run, arguments: dict[str, Any]
    ) -> Any:
        async def body(session: Session) -> Any:
            now_us = self.clock.now_us()
            if run.site.test_clock:
                now_us = await site_now_us(session, run.site, now_us)
            return await operation.fn(Context(self, run, session, None, now_us), **arguments)

        return await self.storage.read(
            body, site=run.site.id, deadline=run.deadline, shape=operation.id
        )

    # ---- calls in process

    async def call(self, context: Context, operation: Operation[P, R], args: Any, kwargs: Any) -> R:
        """Run a query for another handler, with the caller's principal, deadline and trace."""
        if operation.needs not in (PUBLIC, INTERNAL):
            admit(operation, context.principal)
        arguments = _named(operation, args, kwargs)
        if self.as_if_remote:
            arguments = self.operation_arguments(operation, codec.encode(arguments))
        origin = context.run
        run = Run(
            context.settings, context.principal, operation.id, operation.service, origin.trace,
            origin.deadline,
        )  # fmt: skip
        value: R = await self._query(operation, run, arguments)
        if self.as_if_remote:
            value = codec.decode(codec.encode(value), operation.returns)
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
        site = await self._admit(operation, caller)
        run = self._run(operation, site, caller.principal, deadline, "", arguments)
        if operation.kind == "query":
            value: R = await self._query(operation, run, arguments)
            return value
        if operation.kind == "action":
            action = self.actions[operation.id]
            settled = await self.begin_and_finish(action, run, arguments, key, "")
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
            document = msgspec.json.decode(settled.answer)
            slug = str(document["type"]).rpartition("/")[2]
            problem = Problem(document.get("detail", ""), slug=slug, title=document["title"])
            problem.status = settled.status  # type: ignore[misc]
            raise problem
        if settled.value is not None:
            return settled.value
        if settled.version:
            name = contracts.answer_name(action.id)
            return self.reader.read(name, settled.version, settled.answer)
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

    def across_sites(self, context: Context, session: Session, reason: str) -> Awaitable[Db]:
        """See `Context.across_sites`."""
        return self._across(context, session, reason)

    async def _across(self, context: Context, session: Session, reason: str) -> Db:
        principal = context.principal
        if principal.home != PLATFORM or not principal.allows("platform.sites:across"):
            raise Denied("It takes the permission platform.sites:across to read all sites.")
        logger.warning(
            "across sites: %s by %s: %s", context.run.cause, context.principal.id, reason
        )
        await session.enter_site("*")
        return Db(session, context.site, context.run.service, self.statements, context.new_id, True)

    # ---- actions

    async def begin_and_finish(
        self,
        action: Action[..., Any, Any, Any],
        run: Run,
        arguments: dict[str, Any],
        key: str | None,
        request: str,
    ) -> "Settled | str":
        """Run an action: its `begin`, the world, its `settle`. Returns the attempt's id when the
        world has not told the outcome yet: due work goes on with it."""
        begun = await actions.begin(self, action, run, arguments, key, request)
        if isinstance(begun, Settled):
            return begun
        waiting = self._waiting.get(begun.attempt)
        if waiting is not None:
            done, _ = await asyncio.wait([waiting], timeout=self._wait_s(run.deadline))
            settled_there = done and not waiting.cancelled() and not waiting.exception()
            if not settled_there:
                return begun.attempt
            return msgspec.structs.replace(waiting.result(), replayed=True)
        if begun.replayed:
            return begun.attempt
        future: asyncio.Future[Settled] = asyncio.get_running_loop().create_future()
        self._waiting[begun.attempt] = future
        try:
            settled = await actions.finish(self, run.site.id, begun.attempt)
            future.set_result(settled)
            return settled
        except Unknown:
            return begun.attempt
        except Exception:
            # The world may have acted: nobody may be told that nothing happened.
            logger.exception("the attempt %s goes on as due work", begun.attempt)
            return begun.attempt
        finally:
            self._waiting.pop(begun.attempt, None)
            if not future.done():
                future.cancel()

    def _wait_s(self, deadline: float) -> float:
        return max(0.0, min(WAIT_S, deadline - time.monotonic()))

    def attempt_request(
        self,
        action: Action[..., Any, Any, Any],
        site: str,
        data: bytes,
        sealed: bool,
        version: int,
    ) -> Any:
        """Return the request of an attempt as it was asked, lifted to today's version."""
        if sealed:
            data = self.sealer.open("attempt", site, data)
        return self.reader.read(contracts.request_name(action.id), version, data)

    def sealed(self, site: str, answer: bytes, returns: Any) -> tuple[bytes, bool]:
        """Return an answer as it may be kept, and whether it is sealed."""
        if codec.holds_secret(returns):
            return self.sealer.seal("answer", site, answer), True
        return answer, False

    def opened(self, site: str, answer: bytes, returns: Any) -> bytes:
        """Return a kept answer as it was given."""
        return self.sealer.open("answer", site, answer) if codec.holds_secret(returns) else answer

    def backoff_of(self, row: DueRow) -> tuple[float, ...]:
        """Return the waits of a due row that finishes an attempt or runs an operation."""
        if row.name == actions.RESUME:
            # Money may hang on it: it is asked again for two days before a person must look.
            named = msgspec.json.decode(row.arguments).get("action", "")
            action = self.actions.get(named)
            return (*(action.backoff_s if action else BACKOFF_S), *([3600.0] * 48))
        return BACKOFF_S

    # ---- stored values

    def event_value(self, event: LogEvent) -> Any:
        """Return an event as its subscribers know it, lifted to today's version."""
        return self.reader.read(event.type, event.version, event.data)

    def due_arguments(self, work: DueWork, row: DueRow) -> dict[str, Any]:
        """Return the arguments of a due row, lifted to today's version."""
        values = msgspec.json.decode(row.arguments)
        if row.version != work.version:
            values = self.reader.lift(row.name, row.version, values)
        return _typed(work.parameters, values)

    def operation_arguments(self, operation: Operation[..., Any], data: bytes) -> dict[str, Any]:
        """Return encoded arguments as an operation's handler takes them."""
        return _typed(operation.parameters, msgspec.json.decode(data))

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


def _as_due_work(schedule: Schedule) -> DueWork:
    return DueWork(schedule.name, schedule.service, 1, schedule.fn, (), schedule.backoff_s)


def _typed(parameters: Any, values: dict[str, Any]) -> dict[str, Any]:
    return {
        parameter.name: codec.convert(values[parameter.name], parameter.type)
        for parameter in parameters
        if parameter.name in values
    }


def _named(operation: Operation[..., Any], args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    if not args:
        return kwargs
    names = [parameter.name for parameter in operation.parameters]
    return {**dict(zip(names, args, strict=False)), **kwargs}
