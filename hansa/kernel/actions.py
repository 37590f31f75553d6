"""Actions: handlers that reach the world, such as a payment provider, with none lost or doubled.

Three parts. `begin` is a command: it checks, reserves, and returns what to ask; the kernel writes
the attempt, its due row and the key with it. `outside` asks the world, under the attempt's
identifier as the idempotency key. `settle` is a command: it records the outcome, once. The caller,
a webhook and the due row all end in the same `settle`, so a dead process is finished by due work.

What must never happen here: an outside call inside a transaction, a second settle of one attempt,
or an attempt that nobody will ask about again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, get_type_hints

import msgspec

from hansa.kernel import codec, contracts, idempotency, machine
from hansa.kernel.idempotency import Known
from hansa.kernel.ids import ID
from hansa.kernel.observe.spans import Inside
from hansa.kernel.operation import Operation
from hansa.kernel.outbox import Kept
from hansa.kernel.problems import NotFound, Problem
from hansa.kernel.relations import sql
from hansa.kernel.schedule import from_us
from hansa.kernel.storage import Session
from hansa.kernel.structs import Struct

if TYPE_CHECKING:
    from hansa.kernel.context import Context
    from hansa.kernel.run import Run
    from hansa.kernel.runtime import Runtime

P = ParamSpec("P")
R = TypeVar("R")
Q = TypeVar("Q")
O = TypeVar("O")
V = TypeVar("V")

MARGIN_S = 2.0
"""How long after the time for the world is over due work takes an attempt up."""

RESUME = "kernel.resume:"
"""What the names of due work begin with that finishes attempts; then comes the service."""
"""The name of the due rows that finish attempts."""


class Unknown(Exception):
    """Raised by `outside`: the world did not tell the outcome; due work asks again."""


class Refused(Exception):
    """Raised by `settle`: the outcome is a refusal. What `settle` wrote is kept, and so is the
    problem, as the answer of the attempt."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


@dataclass(frozen=True)
class Done(Generic[V]):
    """Returned by `begin`: the answer is known without asking the world."""

    value: V


class Settled(Struct):
    """The answer of a settled attempt: `value` is None where it is a refusal, or was kept; then
    `version` is the action's when it was settled (0 where only the key kept it)."""

    status: int
    answer: bytes
    value: Any = None
    version: int = 0
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class World:
    """What `outside` is given in place of a context: no database, but a key and the time."""

    key: ID
    site: str
    now: datetime
    deadline: float  # monotonic seconds
    trace: str
    resources: dict[type, Any]

    def get(self, kind: type[V]) -> V:
        """Return the process's resource of a kind, such as the payment provider."""
        found: V = self.resources[kind]
        return found


@dataclass(eq=False, slots=True)
class Action(Operation[P, R], Generic[P, R, Q, O]):
    """An operation in three parts; the declared function is `begin`."""

    request_type: Any = None
    outcome_type: Any = None
    version: int = 1
    outside_s: float = 10.0
    backoff_s: tuple[float, ...] = ()
    outside_fn: Callable[[World, Any], Awaitable[Any]] | None = None
    settle_fn: Callable[..., Awaitable[Any]] | None = None
    parts: dict[str, Any] = field(default_factory=dict[str, Any])

    def declare(
        self,
        request: type[Q],
        outcome: type[O],
        version: int,
        outside_s: float,
        backoff_s: tuple[float, ...],
    ) -> None:
        """Set what the service's decorator was given."""
        self.request_type = request
        self.outcome_type = outcome
        self.version = version
        self.outside_s = outside_s
        self.backoff_s = backoff_s

    def outside(self, fn: Callable[[World, Q], Awaitable[O]]) -> Callable[[World, Q], Awaitable[O]]:
        """Declare the part that asks the world; it may be run again with the same key."""
        self.outside_fn = fn
        return fn

    def settle(
        self, fn: "Callable[[Context, Q, O], Awaitable[V]]"
    ) -> "Callable[[Context, Q, O], Awaitable[V]]":
        """Declare the command that records the outcome; it has effect once per attempt."""
        self.settle_fn = fn
        self.returns = get_type_hints(fn)["return"]
        return fn

    async def settle_in(self, context: "Context", session: Session, attempt: ID, outcome: O) -> Any:
        """Settle an attempt inside the transaction of `context` (see `Context.settle`)."""
        settled = await _settle(context, session, self, attempt, outcome)
        if settled.version and settled.status < 400:
            name = contracts.answer_name(self.id)
            return context.runtime.stored.read(name, settled.version, settled.answer)
        return settled.value


_ATTEMPT = """SELECT action, request, sealed, digest, status, answer, trace, version
FROM hansa_attempts WHERE site = ?1 AND id = ?2"""
_OPEN = """INSERT INTO hansa_attempts (site, id, action, version, request, sealed, digest,
principal, trace, status, answer, created_at_us)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, ?10, ?11)"""
# A sealed request has been of use: what it held is nobody's any more.
_CLOSE = """UPDATE hansa_attempts SET status = ?3, answer = ?4, version = ?5,
request = CASE WHEN sealed = 1 THEN ?6 ELSE request END WHERE site = ?1 AND id = ?2"""
_ANSWER = """UPDATE hansa_keys SET status = ?3, answer = ?4, sealed = ?5
WHERE site = ?1 AND digest = ?2"""
_UNDUE = "DELETE FROM hansa_due WHERE site = ?1 AND id = ?2"


def due_id(attempt: ID) -> ID:
    """Return the name of an attempt's due row."""
    return f"resume:{attempt}"


def resume_name(service: str) -> str:
    """Return the name of the due work that finishes attempts of a service."""
    return RESUME + service


def is_resume(name: str) -> bool:
    """Tell whether due work finishes an attempt."""
    return name.startswith(RESUME)


async def open_attempt(
    context: "Context",
    session: Session,
    runtime: "Runtime",
    action: Action[..., Any, Any, Any],
    request: Any,
    digest: str,
) -> ID:
    """Write a new attempt beside what `begin` wrote, and return its identifier."""
    attempt = context.new_id("att")
    data = codec.encode(request)
    sealed = codec.holds_secret(action.request_type)
    if sealed:
        data = runtime.sealer.seal("attempt", context.site, data)
    await session.run(
        sql(session, _OPEN),
        (context.site, attempt, action.id, action.version, data, int(sealed), digest,
         context.principal.id, context.run.trace, b"", runtime.clock.now_us()),
    )  # fmt: skip
    return attempt


class Begun(Struct):
    """An attempt that is open: a new one, or that of a repeated key."""

    attempt: ID
    replayed: bool


async def begin(
    runtime: "Runtime",
    action: Action[..., Any, Any, Any],
    run: "Run",
    arguments: dict[str, Any],
    key: str | None,
    request: str,
) -> "Settled | Begun":
    """Run the first part: the answer if it is known already, else the attempt to finish."""
    from hansa.kernel import commands  # it needs the contexts, which need the actions

    digest = ""
    if key is not None:
        digest = idempotency.digest_of(run.site.id, run.principal, action.id, key)
        if run.site.test_clock and not run.trigger:
            run = msgspec.structs.replace(run, trigger=digest)

    async def work(context: "Context") -> Settled | Begun:
        begun = await action.fn(context, **arguments)
        if isinstance(begun, Done):
            answer = codec.encode(begun.value)
            stored, sealed = runtime.stored.sealed(run.site.id, answer, action.returns)
            if digest:
                context.keep(Kept(digest, request, action.status, stored, sealed, ""))
            return Settled(action.status, answer, begun.value)
        attempt = await open_attempt(context, context.session, runtime, action, begun, digest)
        context.resume_later(
            due_id(attempt), resume_name(action.service), attempt, action.id,
            action.outside_s + MARGIN_S,
        )  # fmt: skip
        if digest:
            context.keep(Kept(digest, request, 0, b"", False, attempt))
        return Begun(attempt, replayed=False)

    done = (await commands.keyed(runtime, run, digest, request, work)).value
    if not isinstance(done, Known):
        return done
    if not done.status:
        return Begun(done.attempt, replayed=True)
    return Settled(done.status, commands.opened(runtime, run.site.id, done), replayed=True)


async def _settle(
    context: "Context",
    session: Session,
    action: Action[..., Any, Any, Any],
    attempt: ID,
    outcome: Any,
) -> Settled:
    rows = await session.fetch(sql(session, _ATTEMPT), (context.site, attempt))
    if not rows or rows[0][0] != action.id:
        raise NotFound(f"There is no attempt {attempt} of {action.id} on this site.")
    _, data, sealed, digest, status, answer, _, version = rows[0]
    runtime = context.runtime
    if status:
        kept = runtime.stored.opened(context.site, bytes(answer), action.returns)
        return Settled(status, kept, version=version)
    if action.settle_fn is None:
        raise TypeError(f"{action.id} has no settle")
    request = runtime.stored.attempt_request(
        action, context.site, bytes(data), bool(sealed), version
    )
    try:
        value = await action.settle_fn(context, request, outcome)
        status, body = action.status, codec.encode(value)
    except Refused as refusal:
        problem = refusal.problem
        value, status, body = None, problem.status, codec.encode(problem.document())
    kept, secret = runtime.stored.sealed(context.site, body, action.returns)
    # From here on the version is that of the answer: the request is not read any more.
    await session.run(
        sql(session, _CLOSE), (context.site, attempt, status, kept, action.version, b"")
    )
    if digest:
        await session.run(sql(session, _ANSWER), (context.site, digest, status, kept, int(secret)))
    await session.run(sql(session, _UNDUE), (context.site, due_id(attempt)))
    return Settled(status, body, value)


@dataclass(frozen=True, slots=True)
class AttemptState:
    """What is known of an attempt: status 0 and no answer while it is open."""

    action: str
    status: int
    answer: bytes
    sealed_request: bytes
    is_sealed: bool
    trace: str
    version: int


async def state_of(session: Session, site: str, attempt: ID) -> AttemptState | None:
    """Return an attempt as it is now, None when there is none of that id on the site."""
    rows = await session.fetch(sql(session, _ATTEMPT), (site, attempt))
    if not rows:
        return None
    action, request, sealed, _, status, answer, trace, version = rows[0]
    return AttemptState(action, status, bytes(answer), bytes(request), bool(sealed), trace, version)


async def finish(runtime: "Runtime", site: str, attempt: ID) -> Settled:
    """Ask the world about an open attempt and settle it; of a settled one return the answer.

    Raises Unknown when the world does not tell, or not in time; what is written stays as it was.
    """
    deadline = machine.monotonic() + 30
    state = await runtime.storage.read(
        lambda session: state_of(session, site, attempt), site=site, deadline=deadline
    )
    if state is None:
        raise NotFound(f"There is no attempt {attempt} on this site.")
    action = runtime.actions.get(state.action)
    if action is None:
        raise contracts.ContractUnknown(f"No service here declares {state.action}")
    if state.status:
        answer = runtime.stored.opened(site, state.answer, action.returns)
        return Settled(state.status, answer, version=state.version)
    request = runtime.stored.attempt_request(
        action, site, state.sealed_request, state.is_sealed, state.version
    )
    outcome = await _ask(runtime, action, site, attempt, request, state.trace)

    async def settle(context: "Context") -> Settled:
        return await _settle(context, context.session, action, attempt, outcome)

    settled: Settled = await runtime.commit(
        settle, site=site, cause=f"{action.id}.settle", service=action.service,
        trace=state.trace, trigger=attempt, serial_by=serial_of(action, site),
    )  # fmt: skip
    return settled


def serial_of(action: Action[..., Any, Any, Any], site: str) -> str | None:
    """Return the queue that settling takes: that of `begin`, where it needs no argument to tell."""
    if action.serial_by is None or action.serial_names:
        return None
    return f"{action.service}:{site}:{action.serial_by()}"


async def _ask(
    runtime: "Runtime",
    action: Action[..., Any, Any, Any],
    site: str,
    attempt: ID,
    request: Any,
    trace: str,
) -> Any:
    if action.outside_fn is None:
        raise TypeError(f"{action.id} has no outside")
    now = from_us(runtime.clock.now_us())
    world = World(
        attempt, site, now, machine.monotonic() + action.outside_s, trace, runtime.resources
    )
    try:
        with Inside("outside", action.id):
            return await asyncio.wait_for(action.outside_fn(world, request), action.outside_s)
    except TimeoutError:
        raise Unknown(f"{action.id}: no answer within {action.outside_s:g} s") from None
    except Unknown:
        raise
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise Unknown(f"{action.id}: it was cancelled out there") from None
    except Exception as error:  # whatever went wrong out there, what it did is not known
        raise Unknown(f"{action.id}: {error!r}") from error
