"""A cell for tests: services run here as `hansa up` runs them, on rows that nobody keeps.

Their revisions are applied, their sites are real ones, permissions and idempotency keys count, and
every `ctx.call` is encoded and decoded as between two processes. What is not real is said: the
clock of a site that was made with one, and the fakes of other services.
"""

import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, ParamSpec, Self, TypeVar

from hansa.assembly import OPERATOR, Cell, Place
from hansa.kernel import catalog, codec
from hansa.kernel.admission import admit
from hansa.kernel.caller import PUBLIC_PRINCIPAL, SYSTEM, Caller, Principal
from hansa.kernel.context import Context
from hansa.kernel.operation import INTERNAL, PUBLIC, Operation
from hansa.kernel.runtime import Runtime
from hansa.kernel.service import Service
from hansa.kernel.structs import Event
from hansa.platform.sites import api as sites
from hansa.project import EVERYWHERE
from hansa.testing.looking import Looking

P = ParamSpec("P")
R = TypeVar("R")
E = TypeVar("E", bound=Event)

MEMORY: Final = Path("/dev/shm")  # noqa: S108
"""A folder in memory, where the system has one; the tests' rows need no disk."""


class Part(Looking):
    """A process of services, as a test looks into it."""

    cell: Cell

    @property
    def runtime(self) -> Runtime:
        """The runtime, for what is not here."""
        return self.cell.runtime

    async def head(self) -> int:
        """Return the last position of its log, once all that is committed has one."""
        await self.storage.sequence()
        ((last,),) = await self.rows("SELECT COALESCE(MAX(position), 0) FROM hansa_events")
        return int(last)


class TestCell(Part):
    """Services on an empty cell, open inside `async with`.

    `place` says where the rows are (see the fixture `place` for both engines); without it they are
    in a SQLite file in memory. Services whose events the given ones hear are there too.
    """

    __test__ = False

    def __init__(
        self, *services: Service, place: Place | None = None, as_if_remote: bool = True
    ) -> None:
        self._own_folder: str | None = None
        if place is None:
            memory = str(MEMORY) if MEMORY.is_dir() else None
            self._own_folder = tempfile.mkdtemp(prefix="hansa-test-", dir=memory)
            place = Place(Path(self._own_folder), synchronous="OFF")
        self.cell = Cell(place, with_the_heard(services), as_if_remote=as_if_remote, testpay=True)

    async def __aenter__(self) -> Self:
        await self.cell.open()
        self.storage = self.cell.storage
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cell.close()
        if self._own_folder is not None:
            shutil.rmtree(self._own_folder)

    def at(self, service: str) -> Part:
        """Return where a service runs: here."""
        return self

    @property
    def every(self) -> Sequence[Part]:
        """All processes that there are: this one."""
        return (self,)

    async def site(
        self, name: str = "site", *, at: datetime | None = None, zone: str = "UTC",
        currency: str = "EUR", locale: str = "en",
    ) -> "TestSite":  # fmt: skip
        """Make a site. With `at` it has a clock of its own, which stands there until `advance`."""
        clock = None if at is None else sites.TestClock(at)
        form = sites.NewSite(name, locale, currency, zone, clock=clock)
        made = await self.runtime.do(sites.create_site, OPERATOR, {"body": form})
        return TestSite(self, made.id)

    async def rest(self) -> None:
        """Return when every event has been handled, and those that followed from it too."""
        await self.runtime.dispatcher.rest()

    @contextmanager
    def fake(
        self, operation: Operation[P, R], answer: R | Callable[P, R]
    ) -> Iterator[list[dict[str, Any]]]:
        """Have a query of another service answered by a value, or by a function of its arguments.

        For what handlers ask by `ctx.call`; permissions count. Gives the list of calls, each as
        its arguments by name. The service need not be in the cell. A call raises TypeError for an
        answer that is not of the operation's type.
        """
        calls: list[dict[str, Any]] = []

        async def fake(context: Context, args: Any, kwargs: Any) -> Any:
            if operation.needs not in (PUBLIC, INTERNAL):
                admit(operation, context.principal)
            calls.append(operation.named(args, kwargs))
            given = answer(**calls[-1]) if callable(answer) else answer  # type: ignore[call-arg]
            try:
                return codec.decode(codec.encode(given), operation.returns)
            except ValueError as error:
                raise TypeError(f"the fake of {operation.id} answers {given!r}: {error}") from error

        with ExitStack() as faked:
            for part in self.every:
                faked.enter_context(_answering(part.runtime, operation, fake))
            yield calls


@contextmanager
def _answering(
    runtime: Runtime, operation: Operation[..., Any], fake: Callable[..., Awaitable[Any]]
) -> Iterator[None]:
    """Have a runtime answer the calls of an operation by a fake, and all others itself."""
    real = runtime.call

    async def call(context: Context, asked: Operation[Any, Any], args: Any, kwargs: Any) -> Any:
        if asked is operation:
            return await fake(context, args, kwargs)
        return await real(context, asked, args, kwargs)

    runtime.call = call  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        runtime.call = real  # type: ignore[method-assign]


class TestCaller:
    """Somebody who calls a site: its owner, a visitor, or the holder of a key."""

    __test__ = False

    def __init__(self, runtime: Runtime, caller: Caller, key: str | None = None) -> None:
        self.runtime = runtime
        self.caller = caller
        self._key = key

    async def call(self, operation: Operation[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call an operation as from outside, and return its value. Raises Problem."""
        arguments = operation.named(args, kwargs)
        return await self.runtime.do(operation, self.caller, arguments, key=self._key)

    def under(self, key: str) -> "TestCaller":
        """Return the same caller, who sends this Idempotency-Key."""
        return TestCaller(self.runtime, self.caller, key)


class TestSite(TestCaller):
    """A site of a test; it calls as its owner, who may do everything there."""

    def __init__(self, cell: TestCell, id: str) -> None:
        super().__init__(cell.runtime, Caller(id, SYSTEM))
        self.cell = cell
        self.id = id

    @property
    def visitor(self) -> TestCaller:
        """Somebody without a key."""
        return TestCaller(self.runtime, Caller(self.id, PUBLIC_PRINCIPAL))

    def key(self, *permissions: str) -> TestCaller:
        """Return the holder of a key of the site with these permissions."""
        principal = Principal("key_of_a_test", frozenset(permissions), "key", self.id)
        return TestCaller(self.runtime, Caller(self.id, principal))

    async def emit(self, event: Event) -> None:
        """Publish an event, as the service that declares it would."""
        service = catalog.event_name(type(event)).partition(".")[0]

        async def publish(context: Context) -> None:
            context.emit(event)

        runtime = self.cell.at(service).runtime
        await runtime.commit(publish, site=self.id, cause=f"test.{service}", service=service)

    async def events(self, kind: type[E]) -> list[E]:
        """Return the committed events of a type on this site, in order."""
        name = catalog.event_name(kind)
        part = self.cell.at(name.partition(".")[0])
        rows = await part.rows(
            "SELECT version, data FROM hansa_events WHERE site = ?1 AND type = ?2"
            " ORDER BY position, id",
            self.id, name,
        )  # fmt: skip
        return [self.runtime.stored.read(name, version, bytes(data)) for version, data in rows]

    async def advance(self, to: datetime | timedelta) -> datetime:
        """Move the site's own clock, to an instant or by a span, and do all that falls due on the
        way. Return where it stands. Raises Problem where the site has no clock of its own."""
        if isinstance(to, timedelta):
            to = await self.now() + to
        return await self.runtime.advance(self.id, to)

    async def now(self) -> datetime:
        """Return the instant by the site's clock."""

        async def read(context: Context) -> datetime:
            return context.now

        return await self.runtime.commit(read, site=self.id, cause="test.now", service="sites")


def with_the_heard(services: Sequence[Service]) -> tuple[Service, ...]:
    """Return services with those that every cell has, and those whose events they hear."""
    found: list[Service] = [*EVERYWHERE]
    wanted = list(services)
    while wanted:
        one = wanted.pop(0)
        if one not in found:
            found.append(one)
            wanted += [
                _owner(s.event) for s in one.subscriptions if s.event is not None and not s.optional
            ]
    return tuple(found)


def _owner(event: type[Event]) -> Service:
    """Return the service that declares an event."""
    name = catalog.event_name(event).partition(".")[0]
    return next(one for one in reversed(catalog.declared()) if one.name == name)
