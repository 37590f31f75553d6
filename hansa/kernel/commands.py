"""Commands: one serializable transaction each, remembered by key, with its events and due work.

What must never happen here: an answer that is not durable, effect twice under one key, or a context
that outlives its transaction.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from hansa.kernel import codec, idempotency, machine
from hansa.kernel.answer import bounded
from hansa.kernel.clock import site_now_us
from hansa.kernel.context import Context
from hansa.kernel.fence import guarded
from hansa.kernel.idempotency import Known
from hansa.kernel.operation import Operation
from hansa.kernel.outbox import Kept, Outbox, Stamp, flush
from hansa.kernel.problems import ConstraintRefused, Overloaded, problem_of
from hansa.kernel.run import Run
from hansa.kernel.storage import Committed, ConstraintFailed, Session
from hansa.kernel.structs import Struct

if TYPE_CHECKING:
    from hansa.kernel.runtime import Runtime

T = TypeVar("T")
Work = Callable[[Context], Awaitable[T]]

RACES_MAX = 20
"""How often a command begins anew because a sibling in another process took its key or sequence."""


class Commanded(Struct):
    """What came of a command: its value, or of a repeated key the kept answer alone."""

    status: int
    answer: bytes
    value: Any = None
    attempt: str = ""
    replayed: bool = False


async def work_in(runtime: "Runtime", run: Run, session: Session, work: Work[T]) -> T:
    """Run `work` in an open transaction with a context of its own, and write its outbox."""
    machine_us = runtime.clock.now_us()
    now_us = run.now_us
    if not now_us:
        now_us = machine_us
        if run.site.test_clock:
            now_us = await site_now_us(session, run.site, machine_us)
    outbox = Outbox()
    value = await work(Context(runtime, run, session, outbox, now_us))
    if outbox.kept or outbox.events or outbox.due or outbox.cancelled:
        await leave(runtime, run, session, outbox, now_us, machine_us)
    return value


async def leave(
    runtime: "Runtime",
    run: Run,
    session: Session,
    outbox: Outbox,
    now_us: int,
    machine_us: int,
) -> None:
    """Write what a run leaves behind, and tell the loops of this process that there is work."""
    site = run.site
    stamp = Stamp(
        site.id, site.slot, site.epoch, now_us, machine_us, run.principal.id, run.trace, run.cause
    )
    await flush(session, outbox, stamp)
    for due in outbox.due:
        if due.ready_at_us is not None:
            runtime.due_pending_us = min(runtime.due_pending_us, due.ready_at_us)


async def commit(runtime: "Runtime", run: Run, work: Work[T]) -> Committed[T]:
    """Run `work` as one transaction. Raises ConstraintRefused where a constraint refused a row."""

    async def body(session: Session) -> T:
        return await work_in(runtime, run, session, work)

    return await submit(runtime, run, body)


async def submit(runtime: "Runtime", run: Run, body: Callable[[Session], Any]) -> Committed[Any]:
    """Hand a body to the storage. Raises ConstraintRefused where a constraint refused a row, and
    KeyTaken where another process took the same key or sequence first."""
    body = guarded(runtime.storage, run.site.id, body)
    try:
        committed: Committed[Any] = await runtime.storage.write(
            body, site=run.site.id, deadline=run.deadline, serial_by=run.serial_by
        )
    except ConstraintFailed as failure:
        if failure.kind == "unique" and "hansa_" in failure.constraint:
            raise KeyTaken from failure
        raise ConstraintRefused(f"{failure.kind}: {failure.constraint}") from failure
    runtime.wake()
    return committed


class KeyTaken(Overloaded):
    """Another process committed under the same key meanwhile."""


async def keyed(
    runtime: "Runtime", run: Run, digest: str, request: str, work: Work[T]
) -> Committed[T | Known]:
    """Run `work` as one transaction unless its key is known; then return what is kept.

    The key is not looked up first: a lookup would cost every command what only a repeated one
    needs, and on PostgreSQL make serializable commands with neighbouring keys abort each other. The
    key's unique row, written last, decides, and the key is looked up when it or anything else is
    refused: of a repeated key nothing is kept but the first time.
    """

    async def body(session: Session) -> T:
        return await work_in(runtime, run, session, work)

    for _ in range(RACES_MAX):
        try:
            return await submit(runtime, run, body)
        except Exception as error:
            known = await _known(runtime, run, digest, request)
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
        digest = idempotency.digest_of(run.site.id, run.principal, operation.id, key)
        if run.site.test_clock and not run.trigger:
            run = msgspec.structs.replace(run, trigger=digest)
    if operation.prepare_fn is not None:
        # `prepare` may refuse what was done long ago.
        known = await _known(runtime, run, digest, request)
        if known is not None:
            return Committed(_answered(runtime, run, known), 0)
        arguments = {**arguments, "prepared": await _prepare(runtime, operation, run, arguments)}
    status = operation.status
    secret = codec.holds_secret(operation.returns)

    async def work(context: Context) -> Commanded:
        value = await operation.fn(context, **arguments)
        answer = bounded(codec.encode(value))
        if digest:
            stored = runtime.sealer.seal("answer", run.site.id, answer) if secret else answer
            context.keep(Kept(digest, request, status, stored, secret, ""))
        return Commanded(status, answer, value)

    committed = await keyed(runtime, run, digest, request, work)
    done = committed.value
    if isinstance(done, Known):
        done = _answered(runtime, run, done)
    return Committed(done, committed.position)


async def _known(runtime: "Runtime", run: Run, digest: str, request: str) -> Known | None:
    """Return what is kept of a key, if there is one. Raises Unprocessable as `find` does."""
    if not digest:
        return None

    async def find(session: Session) -> Known | None:
        return await idempotency.find(session, run.site.id, digest, request)

    return await runtime.storage.read(
        find, site=run.site.id, deadline=run.deadline, shape="kernel.key"
    )


def _answered(runtime: "Runtime", run: Run, known: Known) -> Commanded:
    answer = opened(runtime, run.site.id, known)
    if known.status >= 400:  # what it was about has been erased since
        raise problem_of(msgspec.json.decode(answer), known.status)
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
        return await prepare(Context(runtime, run, session, None, now_us), **arguments)

    return await runtime.storage.read(read, site=run.site.id, deadline=run.deadline)


def deadline_in(seconds: float) -> float:
    """Return the deadline so many seconds from now."""
    return machine.monotonic() + seconds
