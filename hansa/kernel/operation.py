"""Operation: one declared handler, with all that the kernel needs to run and describe it."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Concatenate, Final, Generic, Literal, ParamSpec, TypeVar, get_type_hints

from hansa.kernel.structs import PageRequest

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C")

Kind = Literal["query", "command", "action"]
Scope = Literal["site", "platform"]


@dataclass(frozen=True)
class Marker:
    """A value of `needs=` that is not the name of a permission."""

    name: str

    def __repr__(self) -> str:
        return self.name


PUBLIC: Final = Marker("PUBLIC")
"""Anybody may call, with or without a key."""
INTERNAL: Final = Marker("INTERNAL")
"""Only other handlers may call, through `ctx.call`; there is no way in from outside."""
DENIED: Final = Marker("DENIED")
"""Nobody may call: what a handler without `needs=` gets."""

Needs = str | Marker

BODY_BYTES_MAX: Final = 1 << 20
DEADLINE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a handler: where it comes from in a request and what type it must have."""

    name: str
    source: Literal["path", "query", "body", "page", "raw"]
    type: Any
    required: bool
    default: Any


@dataclass(eq=False, slots=True)
class Operation(Generic[P, R]):
    """A query, command or action as declared: `ctx.call(operation, ...)` is typed by it."""

    service: str
    name: str
    kind: Kind
    fn: Callable[..., Awaitable[R]]
    needs: Needs
    scope: Scope = "site"
    method: str = ""
    path: str = ""
    status: int = 200
    summary: str = ""
    serial_by: Callable[..., str] | None = None
    prepare_fn: Callable[..., Awaitable[Any]] | None = None
    deadline_s: float = DEADLINE_S
    body_bytes_max: int = BODY_BYTES_MAX
    parameters: tuple[Parameter, ...] = ()
    returns: Any = None
    deprecated: str = ""
    cost: Callable[..., int] | None = None

    id: str = field(init=False)
    """The operation's name in the whole catalog, ``commerce.get_product``."""
    serial_names: tuple[str, ...] = field(init=False)
    """The names of the arguments that `serial_by` takes."""
    cost_names: tuple[str, ...] = field(init=False)
    """The names of the arguments that `cost` takes."""

    def __post_init__(self) -> None:
        """Name it, and look at what orders its calls and what they cost."""
        self.id = f"{self.service}.{self.name}"
        self.serial_names = _names(self.serial_by)
        self.cost_names = _names(self.cost)

    def prepare(self, fn: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """Declare what runs before the transaction; its value arrives as argument `prepared`."""
        self.prepare_fn = fn
        return fn

    def named(self, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call by their names."""
        if not args:
            return kwargs
        names = [parameter.name for parameter in self.parameters]
        return {**dict(zip(names, args, strict=False)), **kwargs}

    def __call__(self, context: Any, *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        """Run the bare function inside the caller's own transaction or snapshot.

        For handlers of the same service that share a step; across services use `ctx.call`.
        """
        return self.fn(context, *args, **kwargs)


def _names(asks: Callable[..., Any] | None) -> tuple[str, ...]:
    return tuple(inspect.signature(asks).parameters) if asks else ()


Handler = Callable[Concatenate[C, P], Awaitable[R]]


def parameters_of(fn: Callable[..., Any], path: str) -> tuple[tuple[Parameter, ...], Any]:
    """Return the parameters and the return type of a handler, by its signature and its route.

    The first argument is the context. A name in the route is a path parameter; `body` is the
    JSON body, `raw` the undecoded one, `page` a PageRequest; every other is a query parameter.
    `prepared` is not a parameter. Raises TypeError for a handler that is not fully annotated.
    """
    hints = get_type_hints(fn, include_extras=True)
    in_path = {part[1:-1] for part in path.split("/") if part.startswith("{")}
    found: list[Parameter] = []
    for position, (name, declared) in enumerate(inspect.signature(fn).parameters.items()):
        if position == 0 or name == "prepared":
            continue
        if name not in hints:
            raise TypeError(f"{fn.__qualname__}: argument {name} has no type")
        required = declared.default is inspect.Parameter.empty
        default = None if required else declared.default
        source: Literal["path", "query", "body", "page", "raw"]
        if name in in_path:
            source = "path"
            in_path.discard(name)
        elif name in ("body", "raw"):
            source = name  # type: ignore[assignment]
        elif name == "page" and hints[name] is PageRequest:
            source = "page"
        else:
            source = "query"
        found.append(Parameter(name, source, hints[name], required, default))
    if in_path:
        raise TypeError(f"{fn.__qualname__}: {path} names {sorted(in_path)}, no such argument")
    if "return" not in hints:
        raise TypeError(f"{fn.__qualname__}: the return type is missing")
    return tuple(found), hints["return"]
