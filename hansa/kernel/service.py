"""Service: what a team declares — tables, handlers, subscribers, due work — and nothing else.

A declaration is the single source of routes, validation, documentation, permissions and storage.
What must never happen here: a declaration that does anything before a runtime takes it up.
"""

import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import MetaData, Table

from hansa.kernel import catalog, columns
from hansa.kernel.actions import Action
from hansa.kernel.context import Context
from hansa.kernel.log import LogEvent
from hansa.kernel.operation import (
    BODY_BYTES_MAX,
    DEADLINE_S,
    DENIED,
    Kind,
    Needs,
    Operation,
    Parameter,
    Scope,
    parameters_of,
)
from hansa.kernel.resealing import Sealed
from hansa.kernel.schedule import Cron
from hansa.kernel.structs import Event

P = ParamSpec("P")
R = TypeVar("R")
E = TypeVar("E", bound=Event)
Q = TypeVar("Q")
O = TypeVar("O")

BACKOFF_S = (1.0, 5.0, 30.0, 300.0, 3600.0)
"""How long a failed event or due row waits before each further try; after the last it is parked."""

_ROUTE = re.compile(r"(GET|POST|PUT|PATCH|DELETE) (/(?:[a-z0-9_.{}/-]*))")
_NAME = re.compile(r"[a-z][a-z0-9]{1,30}")
_METADATA = MetaData()
"""What SQLAlchemy makes tables in. It keeps none of them: their services do, and one for each of
thousands of services would be 2 MB."""
_NONE: Mapping[Any, Any] = MappingProxyType({})
"""What most services declare of most that there is."""
_RESERVED = "hansa"
"""The first part of the paths of the engineers' pages."""


def method_fits(kind: Kind, method: str) -> bool:
    """Tell whether an operation of a kind may have a method: GET is safe (RFC 9110, 9.2.1)."""
    return method in ("GET", "POST") if kind == "query" else method != "GET"


@dataclass(frozen=True, slots=True)
class Subscription:
    """A handler of an event: `name` stands in the cursors, so renaming it reads from the start.

    With `event` None it takes every event of some sites, as it stands in the log: of those that
    have rows in `listeners`, and of others from their first `opened_by` on. An `optional` one is
    there only beside the service whose event it takes (see `heard_in`).
    """

    name: str
    service: str
    event: type[Event] | None
    fn: Callable[[Context, Any], Awaitable[None]]
    backoff_s: tuple[float, ...]
    listeners: Table | None = None
    opened_by: type[Event] | None = None
    optional: bool = False


@dataclass(frozen=True)
class DueWork:
    """A handler of due rows: `name` and `version` stand in the rows."""

    name: str
    service: str
    version: int
    fn: Callable[..., Awaitable[None]]
    parameters: tuple[Parameter, ...]
    backoff_s: tuple[float, ...]


@dataclass(frozen=True)
class Schedule:
    """A handler that runs again and again, by a cron expression in the zone of each site."""

    name: str
    service: str
    cron: Cron
    spread_s: int
    scope: Scope
    fn: Callable[[Context], Awaitable[None]]
    backoff_s: tuple[float, ...]

    def as_due_work(self) -> DueWork:
        """Return what its due rows are."""
        return DueWork(self.name, self.service, 1, self.fn, (), self.backoff_s)


def heard_in(services: "Iterable[Service]") -> list[Subscription]:
    """Return the subscriptions of some services that run together. Which optional ones are among
    them is decided by these services, never by which modules happen to be imported."""
    there = {one.name: one for one in services}
    return [
        subscription
        for one in there.values()
        for subscription in one.subscriptions
        if not subscription.optional or origin_of(subscription) in there
    ]


def origin_of(subscription: Subscription) -> str:
    """Return the name of the service whose event is taken; "" where it is all events."""
    if subscription.event is None:
        return ""
    return catalog.event_name(subscription.event).partition(".")[0]


class Service:
    """A named set of tables and handlers that one team owns."""

    def __init__(self, name: str, *, owner: str, package: str | None = None) -> None:
        """Declare a service. `name` is the prefix of its routes, tables, events and permissions;
        `owner` is the team; `package` (found by itself) is where its events are declared."""
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"service name {name!r}: 2 to 31 lower-case letters and digits")
        if name == _RESERVED:
            raise ValueError(f"the name {name!r} is Hansa's own")
        self.name = name
        self.owner = owner
        frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
        self.package = package or str(frame.f_globals.get("__name__", ""))
        self.sealed: tuple[Sealed, ...] = ()
        self.tables: dict[str, Table] = {}
        self.operations: dict[str, Operation[..., Any]] = {}
        self.actions: Mapping[str, Action[..., Any, Any, Any]] = _NONE
        self.subscriptions: list[Subscription] = []
        self.due_work: Mapping[str, DueWork] = _NONE
        self.schedules: tuple[Schedule, ...] = ()
        self.events: dict[str, type[Event]] = {}
        self.upcasters: Mapping[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = _NONE
        catalog.remember(self)

    @property
    def why(self) -> str:
        """The first paragraph of the package's docstring: why the service exists."""
        module = sys.modules.get(self.package)
        return ((module and module.__doc__) or "").strip().split("\n\n")[0]

    # ---- what it keeps

    def table(self, name: str, *parts: Any, **options: Any) -> Table:
        """Declare a table, stored as `<service>_<name>` (see `columns.build_table`)."""
        if name in self.tables:
            raise ValueError(f"{self.name} has a table {name} already")
        try:
            table = columns.build_table(_METADATA, self.name, name, parts, **options)
        finally:
            _METADATA.clear()
        self.tables[name] = table
        return table

    def seals(self, table: Table, column: str, purpose: str, *, site: str = "site") -> None:
        """Declare that values sealed for a purpose rest in a column, so that they are sealed anew
        when the master key is rotated. `site` is the column of the site they are sealed for."""
        names = [one.name for one in table.primary_key.columns]
        if column not in table.c or site not in table.c:
            raise ValueError(f"{table.name} has no column {column} or {site}")
        new = Sealed(table.name, tuple(names), column, purpose, site)
        self.sealed = (*self.sealed, new)

    # ---- what others may call

    def query(
        self,
        route: str = "",
        *,
        needs: Needs = DENIED,
        scope: Scope = "site",
        deadline_s: float = DEADLINE_S,
        body_bytes_max: int = BODY_BYTES_MAX,
        deprecated: str = "",
        cost: Callable[..., int] | None = None,
    ) -> Callable[[Callable[Concatenate[Context, P], Awaitable[R]]], Operation[P, R]]:
        """Declare a handler that only reads, on one snapshot. `route` is ``GET /path/{name}``, or
        ``POST /path`` where what is asked is a body; such a one has no ETag.

        `cost` takes some of the handler's arguments by name and returns as how many requests such
        a one counts in the quotas.
        """

        def declare(fn: Callable[Concatenate[Context, P], Awaitable[R]]) -> Operation[P, R]:
            declared: Operation[P, R] = self._add(
                Operation(
                    self.name, fn.__name__, "query", fn, needs, scope, deadline_s=deadline_s,
                    body_bytes_max=body_bytes_max, deprecated=deprecated, cost=cost,
                ),
                route,
            )  # fmt: skip
            return declared

        return declare

    def command(
        self,
        route: str = "",
        *,
        needs: Needs = DENIED,
        scope: Scope = "site",
        status: int = 200,
        serial_by: Callable[..., str] | None = None,
        deadline_s: float = DEADLINE_S,
        body_bytes_max: int = BODY_BYTES_MAX,
        deprecated: str = "",
    ) -> Callable[[Callable[Concatenate[Context, P], Awaitable[R]]], Operation[P, R]]:
        """Declare a handler that is one serializable transaction and is remembered by its key.

        `serial_by` takes some of the handler's arguments by name and returns a text: commands with
        the same text queue here instead of aborting each other in PostgreSQL.
        """

        def declare(fn: Callable[Concatenate[Context, P], Awaitable[R]]) -> Operation[P, R]:
            declared: Operation[P, R] = self._add(
                Operation(
                    self.name, fn.__name__, "command", fn, needs, scope, status=status,
                    serial_by=serial_by, deadline_s=deadline_s, body_bytes_max=body_bytes_max,
                    deprecated=deprecated,
                ),
                route,
            )  # fmt: skip
            return declared

        return declare

    def action(
        self,
        route: str = "",
        *,
        request: type[Q],
        outcome: type[O],
        needs: Needs = DENIED,
        status: int = 200,
        version: int = 1,
        outside_s: float = 10.0,
        deadline_s: float = 30.0,
        serial_by: Callable[..., str] | None = None,
        backoff_s: tuple[float, ...] = BACKOFF_S,
    ) -> Callable[[Callable[Concatenate[Context, P], Awaitable[Any]]], Action[P, Any, Q, O]]:
        """Declare a handler that reaches the world; decorates its `begin` (see `actions`)."""

        def declare(
            fn: Callable[Concatenate[Context, P], Awaitable[Any]],
        ) -> Action[P, Any, Q, O]:
            action: Action[P, Any, Q, O] = Action(
                self.name, fn.__name__, "action", fn, needs, "site", status=status,
                serial_by=serial_by, deadline_s=deadline_s,
            )  # fmt: skip
            action.declare(request, outcome, version, outside_s, backoff_s)
            self._add(action, route)
            self.actions = {**self.actions, action.id: action}
            return action

        return declare

    def _add(self, operation: Any, route: str) -> Any:
        if route:
            match = _ROUTE.fullmatch(route)
            if match is None:
                raise ValueError(f"{operation.id}: route {route!r} is not 'METHOD /path'")
            operation.method, operation.path = map(sys.intern, match.groups())
            if not method_fits(operation.kind, operation.method):
                raise ValueError(
                    f"{operation.id}: GET is for queries, POST for them too where what is asked"
                    " stands in a body, other methods for commands"
                )
        operation.parameters, operation.returns = parameters_of(operation.fn, operation.path)
        operation.summary = (operation.fn.__doc__ or "").strip().split("\n\n")[0]
        if operation.name in self.operations:
            raise ValueError(f"{operation.id} is declared twice")
        self.operations[operation.name] = operation
        return operation

    # ---- what it reacts to

    def on(
        self,
        event: type[E],
        *,
        backoff_s: tuple[float, ...] = BACKOFF_S,
        optional: bool = False,
    ) -> Callable[
        [Callable[[Context, E], Awaitable[None]]], Callable[[Context, E], Awaitable[None]]
    ]:
        """Declare a subscriber: exactly once in effect, in order per aggregate. An `optional` one
        does without the service that has the event: where that is not run, neither is this."""

        def declare(
            fn: Callable[[Context, E], Awaitable[None]],
        ) -> Callable[[Context, E], Awaitable[None]]:
            name = self._name_of(fn)
            self._subscribe(Subscription(name, self.name, event, fn, backoff_s, optional=optional))
            return fn

        return declare

    def on_all(
        self, listeners: Table, *, opened_by: type[Event]
    ) -> Callable[
        [Callable[[Context, LogEvent], Awaitable[None]]],
        Callable[[Context, LogEvent], Awaitable[None]],
    ]:
        """Declare a subscriber to all events of the sites that have rows in `listeners`, for what
        passes events on; the others cost nothing. `opened_by` is the event that the first row of a
        site is written with: since it stands in the log itself, nothing after it is missed."""

        def declare(
            fn: Callable[[Context, LogEvent], Awaitable[None]],
        ) -> Callable[[Context, LogEvent], Awaitable[None]]:
            name = self._name_of(fn)
            self._subscribe(
                Subscription(name, self.name, None, fn, BACKOFF_S, listeners, opened_by)
            )
            return fn

        return declare

    def _name_of(self, fn: Callable[..., Any]) -> str:
        return f"{self.name}.{fn.__name__}"

    def _subscribe(self, new: Subscription) -> None:
        if any(known.name == new.name for known in self.subscriptions):
            raise ValueError(f"{new.name} is declared twice")
        self.subscriptions.append(new)

    def due(
        self, name: str, *, version: int = 1, backoff_s: tuple[float, ...] = BACKOFF_S
    ) -> Callable[[Callable[Concatenate[Context, P], Awaitable[None]]], Any]:
        """Declare what is to be done at a time that `ctx.schedule` names."""

        def declare(fn: Callable[Concatenate[Context, P], Awaitable[None]]) -> Any:
            taken = {*self.due_work, *(one.name for one in self.schedules)}
            if not name.startswith(self.name + ".") or name in taken:
                raise ValueError(f"due work {name!r}: begin with '{self.name}.', and only once")
            parameters, _ = parameters_of(fn, "")
            work = DueWork(name, self.name, version, fn, parameters, backoff_s)
            self.due_work = {**self.due_work, name: work}
            return work

        return declare

    def every(
        self,
        cron: str,
        *,
        spread_s: int = 0,
        scope: Scope = "site",
        backoff_s: tuple[float, ...] = BACKOFF_S,
    ) -> Callable[[Callable[[Context], Awaitable[None]]], Callable[[Context], Awaitable[None]]]:
        """Declare what runs on every site by a cron expression in the site's zone.

        `spread_s` spreads the sites over so many seconds after the instant. After a stop of the
        whole cell only the newest instant that was missed runs.
        """

        def declare(
            fn: Callable[[Context], Awaitable[None]],
        ) -> Callable[[Context], Awaitable[None]]:
            name = f"{self.name}.{fn.__name__}"
            if name in self.due_work or any(one.name == name for one in self.schedules):
                raise ValueError(f"there is a schedule or due work {name!r} already")
            new = Schedule(name, self.name, Cron(cron), spread_s, scope, fn, backoff_s)
            self.schedules = (*self.schedules, new)
            return fn

        return declare

    def upcast(
        self, name: str, version: int
    ) -> Callable[
        [Callable[[dict[str, Any]], dict[str, Any]]], Callable[[dict[str, Any]], dict[str, Any]]
    ]:
        """Declare the pure function that lifts stored data from `version` to the next one."""

        def declare(
            fn: Callable[[dict[str, Any]], dict[str, Any]],
        ) -> Callable[[dict[str, Any]], dict[str, Any]]:
            self.upcasters = {**self.upcasters, (name, version): fn}
            return fn

        return declare
