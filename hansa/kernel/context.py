"""Context: all that a handler may touch. What is not here, a handler cannot reach.

What must never happen here: a way around the site, the clock, the transaction or the log.
"""

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from hansa.kernel import codec, relations
from hansa.kernel.catalog import event_name
from hansa.kernel.database import Db
from hansa.kernel.ids import ID, random_bits, typeid
from hansa.kernel.operation import Operation
from hansa.kernel.outbox import Emitted, Kept, Outbox, Scheduled
from hansa.kernel.problems import Denied
from hansa.kernel.run import Run
from hansa.kernel.schedule import from_us, to_us
from hansa.kernel.storage import PLATFORM, Session
from hansa.kernel.structs import Event

if TYPE_CHECKING:
    from hansa.kernel.actions import Action
    from hansa.kernel.runtime import Runtime
    from hansa.kernel.service import DueWork

logger = logging.getLogger("hansa")

P = ParamSpec("P")
R = TypeVar("R")
Q = TypeVar("Q")
O = TypeVar("O")

ACROSS = "platform.sites:across"
"""The permission to read all sites at once."""
EVENTS_MAX = 10_000
"""Events of one command at most, and due rows likewise."""
EVENT_BYTES_MAX = 1 << 18


class Seeded:
    """Random bits drawn from a seed, so that a test clock moved twice makes the same rows."""

    __slots__ = ("count", "seed")

    def __init__(self, seed: str) -> None:
        self.seed = blake2b(seed.encode()).digest()
        self.count = 0

    def __call__(self) -> int:
        """Return the next 62 bits."""
        self.count += 1
        digest = blake2b(self.seed, digest_size=8, salt=self.count.to_bytes(8)).digest()
        return int.from_bytes(digest) >> 2


class Context:
    """One run of one handler, for one site and one principal, in one transaction or snapshot."""

    __slots__ = (
        "_bits",
        "_db",
        "_outbox",
        "_runtime",
        "_session",
        "now_us",
        "principal",
        "run",
        "settings",
    )

    def __init__(
        self,
        runtime: "Runtime",
        run: Run,
        session: Session,
        outbox: Outbox | None,
        now_us: int,
    ) -> None:
        """Stand in an open transaction, or with no `outbox` in a snapshot, at an instant of the
        site's clock."""
        self._runtime = runtime
        self.run = run
        self.settings = run.site
        self.principal = run.principal
        self.now_us = now_us
        self._session = session
        self._outbox = outbox
        self._db: Db | None = None
        self._bits: Callable[[], int] = random_bits
        if run.site.test_clock and run.trigger:
            self._bits = Seeded(f"{run.site.id}\0{run.cause}\0{run.trigger}")

    # ---- who, where, when

    @property
    def site(self) -> str:
        """The site's identifier; `settings` has its locale, currency and zone."""
        return self.settings.id

    @property
    def now(self) -> datetime:
        """The instant by the site's clock, the same through the whole run."""
        return from_us(self.now_us)

    @property
    def due_at(self) -> datetime:
        """The instant that due work was scheduled for; `now` in any other handler."""
        return from_us(self.run.due_at_us or self.now_us)

    @property
    def db(self) -> Db:
        """The service's tables, restricted to the site."""
        if self._db is None:
            self._db = Db(
                self._session, self.settings.id, self.run.service, self._runtime.statements,
                self.new_id,
            )  # fmt: skip
        return self._db

    def get(self, kind: type[R]) -> R:
        """Return the process's resource of a kind, for what of it needs no waiting: a command that
        waits for one raises CommandSuspended."""
        found: R = self._runtime.resources[kind]
        return found

    def new_id(self, prefix: str) -> ID:
        """Return a new identifier of the type `prefix`."""
        return typeid(prefix, self.now_us, self._bits())

    # ---- what leaves

    def emit(self, event: Event) -> None:
        """Publish an event, if and when this command commits. Raises TypeError in a query."""
        outbox = self._writing("emit")
        cls = type(event)
        name = event_name(cls)
        data = codec.encode(event)
        if len(data) > EVENT_BYTES_MAX or len(outbox.events) >= EVENTS_MAX:
            raise ValueError(f"{name}: at most {EVENT_BYTES_MAX} bytes, {EVENTS_MAX} a command")
        aggregate = f"{name.partition('.')[0]}:{getattr(event, cls.event_aggregate)}"
        outbox.events.append(Emitted(self.new_id("evt"), name, cls.event_version, aggregate, data))

    def schedule(
        self,
        work: "DueWork | Operation[..., Any]",
        *,
        at: datetime,
        id: ID | None = None,
        **arguments: Any,
    ) -> ID:
        """Have `work` done at an instant of the site's clock, if and when this command commits.

        `id` names it: scheduling the same name again replaces the first. Returns the name. Raises
        TypeError for what a site has not to do: what the platform does, hears it by an event.
        """
        outbox = self._writing("schedule")
        if isinstance(work, Operation) and work.scope == "platform" and self.site != PLATFORM:
            raise TypeError(f"{work.id} is of the platform: a site cannot schedule it")
        unknown = arguments.keys() - {parameter.name for parameter in work.parameters}
        missing = {p.name for p in work.parameters if p.required} - arguments.keys()
        if unknown or missing:
            raise TypeError(f"{work.name}: unknown {sorted(unknown)}, missing {sorted(missing)}")
        name = work.id if isinstance(work, Operation) else work.name
        version = 1 if isinstance(work, Operation) else work.version
        at_us = to_us(at)
        row = Scheduled(
            id or self.new_id("due"), name, version, codec.encode(arguments), at_us,
            None if self.settings.test_clock else at_us,
        )  # fmt: skip
        if len(outbox.due) >= EVENTS_MAX:
            raise ValueError(f"at most {EVENTS_MAX} due rows a command")
        outbox.due = [known for known in outbox.due if known.id != row.id] if id else outbox.due
        outbox.due.append(row)
        return row.id

    def unschedule(self, id: ID) -> None:
        """Take back what was scheduled under a name; nothing happens if it is done or unknown."""
        outbox = self._writing("unschedule")
        outbox.due = [known for known in outbox.due if known.id != id]
        outbox.cancelled.append(id)

    def _writing(self, verb: str) -> Outbox:
        if self._outbox is None:
            raise TypeError(f"{self.run.cause} only reads: {verb} is for commands")
        return self._outbox

    def keep(self, kept: Kept) -> None:
        """Keep an answer under its key; for the kernel's own parts."""
        self._writing("keep").kept = kept

    def resume_later(self, id: ID, name: str, attempt: ID, action: str, after_s: float) -> None:
        """Have an attempt finished by due work, by the machine's time on any clock."""
        ready_us = self._runtime.clock.now_us() + int(after_s * 1_000_000)
        arguments = codec.encode({"attempt": attempt, "action": action})
        row = Scheduled(id, name, 1, arguments, self.now_us, ready_us)
        self._writing("resume").due.append(row)

    @property
    def has_emitted(self) -> bool:
        """Whether this command has published anything so far."""
        return bool(self._outbox and self._outbox.events)

    @property
    def runtime(self) -> "Runtime":
        """The process's runtime; for the kernel's own parts."""
        return self._runtime

    @property
    def session(self) -> Session:
        """The open transaction or snapshot; for the kernel's own parts."""
        return self._session

    # ---- who may

    async def relate(self, subject: str, relation: str, object: str) -> None:
        """Record that `subject` stands in `relation` to `object`, in this transaction."""
        self._writing("relate")
        await relations.add(self._session, self.site, object, relation, subject)

    async def unrelate(self, subject: str, relation: str, object: str) -> None:
        """Take a relation back, in this transaction."""
        self._writing("unrelate")
        await relations.remove(self._session, self.site, object, relation, subject)

    async def check(self, permission: str, object: str) -> None:
        """Raise Denied unless the principal has `permission` on `object` (see `relations`)."""
        await self._runtime.authorizer.check(
            self._session, self.site, self.principal, permission, object
        )

    async def permitted(self, permission: str, kind: str) -> list[str] | None:
        """Return the objects of a kind that the principal has `permission` on; None means all."""
        return await self._runtime.authorizer.permitted(
            self._session, self.site, self.principal, permission, kind
        )

    # ---- others

    async def call(
        self,
        operation: Operation[P, R],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Ask another handler, typed by that handler. Raises what it raises.

        Not from a command: what a command needs from elsewhere it reads in `prepare`, or hears
        of as an event. A query may call queries only.
        """
        if self._outbox is not None:
            raise TypeError(
                f"{self.run.cause} is a command and cannot call {operation.id}: read it in"
                " `prepare`, or subscribe to its events"
            )
        if operation.kind != "query":
            raise TypeError(f"{self.run.cause} only reads: it cannot call {operation.id}")
        answer: R = await self._runtime.call(self, operation, args, kwargs)
        return answer

    async def settle(self, action: "Action[..., R, Q, O]", attempt: ID, outcome: O) -> R:
        """Tell an action's attempt its outcome, in this transaction (see `actions`).

        For webhooks. The first outcome counts; of a settled attempt the kept answer comes back.
        """
        self._writing("settle")
        answer: R = await action.settle_in(self, self._session, attempt, outcome)
        return answer

    def across_sites(self, reason: str) -> Awaitable[Db]:
        """Return a `db` that reads all sites; needs `platform.sites:across`, and is audited."""
        return open_across(self, self._session, reason)


async def open_across(context: Context, session: Session, reason: str) -> Db:
    """Return what reads all sites (see `Context.across_sites`). Raises Denied."""
    principal = context.principal
    if principal.home != PLATFORM or not principal.allows(ACROSS):
        raise Denied(f"It takes the permission {ACROSS} to read all sites.")
    logger.warning("across sites: %s by %s: %s", context.run.cause, principal.id, reason)
    await session.enter_site("*")
    statements = context.runtime.statements
    return Db(session, context.site, context.run.service, statements, context.new_id, True)


Handler = Callable[Concatenate[Context, P], Awaitable[R]]
