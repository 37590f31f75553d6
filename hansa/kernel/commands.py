"""Commands: one serializable transaction each, remembered by key, with its events and due work.

What must never happen here: an answer that is not durable, effect twice under one key, or a context
that outlives its transaction.
"""

import time
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from hansa.kernel import codec, idempotency
from hansa.kernel.caller import Principal
from hansa.kernel.clock import site_now_us
from hansa.kernel.context import Context, Origin
from hansa.kernel.idempotency import Known
from hansa.kernel.operation import Operation
from hansa.kernel.outbox import Kept, Outbox, Stamp, flush
from hansa.kernel.problems import Conflict, Overloaded
from hansa.kernel.site import SiteInfo
from hansa.kernel.storage import Committed, ConstraintFailed, Session
from hansa.kernel.structs import Struct

if TYPE_CHECKING:
    from hansa.kernel.runtime import Runtime

T = TypeVar("T")
Work = Callable[[Context, Session], Awaitable[T]]

RACES_MAX = 20
"""How often a command begins anew because a sibling in another process took its key or sequence."""


class Run(Struct):
    """For whom, because of what and until when a transaction of the kernel runs."""

    site: SiteInfo
    principal: Principal
    cause: str
    service: str
    trace: str
    deadline: float
    due_at_us: int = 0
    now_us: int = 0  # 0: read the site's clock
    trigger: str = ""  # what makes identifiers on a test clock: a key, an event, a due row
    serial_by: str | None = None


class Commanded(Struct):
    """What came of a command: its value, or of a repeated key the kept answer alone."""

    status: int
    answer: bytes
    value: Any = None
    attempt: str = ""
    replayed: bool = False


def make_context(
    runtime: "Runtime", run: Run, session: Session, outbox: Outbox | None, now_us: int
) -> Context:
    """Return the context of one run inside an open transaction or snapshot."""
    seed = b""
    if run.site.test_clock and run.trigger:
        seed = blake2b(f"{run.site.id}\0{run.cause}\0{run.trigger}".encode()).digest()
    origin = Origin(run.cause, run.service, run.trace, run.deadline, now_us, run.due_at_us, seed)
    return Context(runtime, run.site, run.principal, origin, session, outbox)


async def work_in(runtime: "Runtime", run: Run, session: Session, work: Work[T]) -> T:
    """Run `work` in an open transaction with a context of its own, and write its outbox."""

    async def without_answer(context: Context, session: Session) -> tuple[T, None]:
        return await work(context, session), None

    return await work_kept(runtime, run, session, without_answer)


async def work_kept(
    runtime: "Runtime", run: Run, session: Session, work: Work[tuple[T, Kept | None]]
) -> T:
    """As `work_in`, where `work` returns with its value the answer to be kept under its key."""
    machine_us = runtime.clock.now_us()
    now_us = run.now_us
    if not now_us:
        now_us = machine_us
        if run.site.test_clock:
            now_us = await site_now_us(session, run.site, machine_us)
    outbox = Outbox()
    context = make_context(runtime, run, session, outbox, now_us)
    value, kept = await work(context, session)
    if kept or outbox.events or outbox.due or outbox.cancelled:
        await leave(runtime, run, session, outbox, now_us, machine_us, kept)
    return value


async def leave(
    runtime: "Runtime",
    run: Run,
    session: Session,
    outbox: Outbox,
    now_us: int,
    machine_us: int,
    kept: Kept | None,
) -> None:
    """Write what a run leaves behind, and tell the loops of this process that there is work."""
    site = run.site
    stamp = Stamp(
        site.id, site.slot, site.epoch, now_us, machine_us, run.principal.id, run.trace, run.cause
    )
    await flush(session, outbox, stamp, kept)
    for due in outbox.due:
        if due.ready_at_us is not None:
            runtime.due_pending_us = min(runtime.due_pending_us, due.ready_at_us)


async def commit(runtime: "Runtime", run: Run, work: Work[T]) -> Committed[T]:
    """Run `work` as one transaction. Raises Conflict where a constraint refused a row."""

    async def body(session: Session) -> T:
        return await work_in(runtime, run, session, work)

    return await submit(runtime, run, body)


async def submit(runtime: "Runtime", run: Run, body: Callable[[Session], Any]) -> Committed[Any]:
    """Hand a body to the storage. Raises Conflict where a constraint refused a row, and KeyTaken
    where another process took the same key or sequence first."""
    try:
        committed: Committed[Any] = await runtime.storage.write(
            body, site=run.site.id, deadline=run.deadline, serial_by=run.serial_by
        )
    except ConstraintFailed as failure:
        if failure.kind == "unique" and "hansa_" in failure.constraint:
            raise KeyTaken from failure
        raise Conflict(
            f"A rule of the data refuses this ({failure.kind}: {failure.constraint}).",
            slug="constraint-failed",
        ) from failure
    runtime.wake()
    return committed


class KeyTaken(Overloaded):
    """Another process committed under the same key meanwhile."""


async def keyed(
    runtime: "Runtime",
    run: Run,
    digest: str,
    request: str,
    work: Work[tuple[T, Kept | None]],
) -> Committed[T | Known]:
    """Run `work` as one transaction unless its key is known; then return what is kept.

    On SQLite the key is looked up first, in the transaction itself. On PostgreSQL that read would
    make serializable commands with neighbouring keys abort each other, so the key's unique row,
    written last, decides, and the key is looked up when it or anything else is refused: of a
    repeated key nothing is kept but the first time.
    """
    inside = bool(digest) and runtime.storage.dialect == "sqlite"
    site = run.site.id

    async def body(session: Session) -> T | Known:
        if inside:
            known = await idempotency.find(session, site, digest, request)
            if known is not None:
                return known
        return await work_kept(runtime, run, session, work)

    async def find(session: Session) -> Known | None:
        return await idempotency.find(session, site, digest, request)

    for _ in range(RACES_MAX):
        try:
            return await submit(runtime, run, body)
        except Exception as error:
            known = None
            if digest and not inside:
                known = await runtime.storage.read(
                    find, site=site, deadline=run.deadline, shape="kernel.key"
                )
            if known is not None:
                return Committed(known, 0)
            if not isinstance(error, KeyTaken):
                raise
    raise Overloaded("Too many requests with the same key at once.", retry_after_s=1)


async def execute(
    runtime: "Runtime",
    operation: Operation[..., Any],
    run: Run,
    arguments: dict[str, Any],
    *,
    key: str | None,
    request: str,
) -> Committed[Commanded]:
    """Run a command, or return what its key is remembered for."""
    digest = ""
    if key is not None:
        digest = idempotency.digest_of(run.site.id, run.principal.id, operation.id, key)
        if run.site.test_clock and not run.trigger:
            run = msgspec.structs.replace(run, trigger=digest)
    if operation.prepare_fn is not None:
        known = await _known(runtime, run, digest, request)
        if known is not None:
            return Committed(_answered(runtime, run, known), 0)
        arguments = {**arguments, "prepared": await _prepare(runtime, operation, run, arguments)}
    status = operation.status
    secret = codec.holds_secret(operation.returns)

    async def work(context: Context, session: Session) -> tuple[Commanded, Kept | None]:
        value = await operation.fn(context, **arguments)
        answer = codec.encode(value)
        if not digest:
            return Commanded(status, answer, value), None
        stored = runtime.sealer.seal("answer", run.site.id, answer) if secret else answer
        kept = Kept(digest, request, status, stored, secret, "")
        return Commanded(status, answer, value), kept

    committed = await keyed(runtime, run, digest, request, work)
    done = committed.value
    if isinstance(done, Known):
        done = _answered(runtime, run, done)
    return Committed(done, committed.position)


async def _known(runtime: "Runtime", run: Run, digest: str, request: str) -> Known | None:
    """Return what is kept of a key before `prepare` runs, which may refuse what was done long ago.
    Raises Unprocessable as `idempotency.find`."""
    if not digest:
        return None

    async def find(session: Session) -> Known | None:
        return await idempotency.find(session, run.site.id, digest, request)

    return await runtime.storage.read(
        find, site=run.site.id, deadline=run.deadline, shape="kernel.key"
    )


def _answered(runtime: "Runtime", run: Run, known: Known) -> Commanded:
    answer = opened(runtime, run.site.id, known)
    return Commanded(known.status, answer, None, known.attempt, replayed=True)


def opened(runtime: "Runtime", site: str, known: Known) -> bytes:
    """Return a kept answer as it was given."""
    return runtime.sealer.open("answer", site, known.answer) if known.sealed else known.answer


async def _prepare(
    runtime: "Runtime", operation: Operation[..., Any], run: Run, arguments: dict[str, Any]
) -> Any:
    prepare = operation.prepare_fn
    if prepare is None:
        return None

    async def read(session: Session) -> Any:
        now_us = await site_now_us(session, run.site, runtime.clock.now_us())
        return await prepare(make_context(runtime, run, session, None, now_us), **arguments)

    return await runtime.storage.read(read, site=run.site.id, deadline=run.deadline)


def deadline_in(seconds: float) -> float:
    """Return the deadline so many seconds from now."""
    return time.monotonic() + seconds
