"""A backend for tests of the wire: operations that answer what they were given."""

import asyncio
import enum
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

import msgspec

from hansa.kernel import codec
from hansa.kernel.answer import Answer
from hansa.kernel.caller import PUBLIC_PRINCIPAL, Caller, Principal
from hansa.kernel.ids import ID
from hansa.kernel.operation import INTERNAL, PUBLIC, Operation, parameters_of
from hansa.kernel.problems import Conflict, Denied, Overloaded, Unauthenticated
from hansa.kernel.structs import Money, Page, PageRequest, RawBody, Secret, Struct


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Line(Struct):
    sku: str
    quantity: Annotated[int, msgspec.Meta(ge=1)]


class Basket(Struct):
    lines: list[Line]
    note: str = ""
    price: Money | None = None
    attributes: dict[str, int] = {}
    free: Any = None
    weight: float = 0.0


class Kept(Struct):
    id: ID
    basket: Basket


class Key(Struct):
    key: Secret


class Product(Struct):
    handle: str
    title: str


async def get_product(ctx: Any, handle: str) -> Product:
    """Return one product."""
    return Product(handle, "Thing")


async def special_product(ctx: Any) -> Product:
    """Return the product that has a fixed path."""
    return Product("special", "Special")


async def list_products(
    ctx: Any,
    page: PageRequest,
    colour: Colour | None = None,
    since: datetime | None = None,
    available: bool = False,
    weight: float = 1.0,
    stock: int = 0,
) -> Page[Product]:
    """List products."""
    return Page([Product(str(page.limit), str(page.cursor))])


async def find(ctx: Any, q: str, exact: bool = False) -> list[str]:
    """Find something."""
    return [q, str(exact)]


async def keep_basket(ctx: Any, body: Basket) -> Kept:
    """Keep a basket."""
    return Kept("bsk_1", body)


async def change_basket(ctx: Any, id: ID, body: Basket | None = None) -> Kept:
    """Change a basket, or leave it."""
    return Kept(id, body or Basket([]))


async def weigh(ctx: Any, body: Basket) -> float:
    """Ask what a basket weighs; it is too long for a query string."""
    return body.weight


async def empty_basket(ctx: Any, id: ID) -> None:
    """Empty a basket."""


async def hook(ctx: Any, raw: RawBody) -> dict[str, Any]:
    """Take a webhook."""
    return {"bytes": len(raw.body), "signature": raw.headers.get("signature")}


async def make_key(ctx: Any) -> Key:
    """Make a key that is shown once."""
    return Key(Secret("s3cret"))


async def explode(ctx: Any) -> None:
    """Fail by a mistake of ours."""
    raise ZeroDivisionError("the secret is 42")


async def refuse(ctx: Any, why: str) -> None:
    """Refuse."""
    if why == "busy":
        raise Overloaded("No.", retry_after_s=7)
    raise Conflict("No.", slug="already-paid", order="ord_1")


async def number(ctx: Any, body: int) -> int:
    """Give a number back."""
    return body


async def hidden(ctx: Any) -> None:
    """Not for outside."""


def operation(method: str, path: str, fn: Any, **options: Any) -> Operation[..., Any]:
    kind = "query" if method == "GET" else "command"
    made = Operation[..., Any](
        options.pop("service", "shop"), fn.__name__, options.pop("kind", kind), fn,
        options.pop("needs", PUBLIC), method=method, path=path, **options,
    )  # fmt: skip
    made.parameters, made.returns = parameters_of(fn, path)
    made.summary = fn.__doc__ or ""
    return made


def operations() -> list[Operation[..., Any]]:
    return [
        operation("GET", "/products/{handle}", get_product),
        operation("GET", "/products/special", special_product),
        operation("GET", "/products", list_products),
        operation("GET", "/find", find, deprecated="2026-11-01: use /products"),
        operation("POST", "/baskets", keep_basket, status=201, body_bytes_max=1 << 16),
        operation("PUT", "/baskets/{id}", change_basket, needs="shop.baskets:write"),
        operation("DELETE", "/baskets/{id}", empty_basket, status=204),
        operation("POST", "/weigh", weigh, kind="query"),
        operation("POST", "/hook", hook, body_bytes_max=1000),
        operation("POST", "/keys", make_key, needs="shop.keys:write"),
        operation("GET", "/explode", explode),
        operation("GET", "/refuse/{why}", refuse),
        operation("POST", "/number", number),
        operation("POST", "", hidden, needs=INTERNAL),
    ]


@dataclass
class Call:
    operation: str
    arguments: dict[str, Any]
    key: str | None
    request_hash: str
    deadline: float
    trace: str
    token: str


@dataclass
class Card:
    name: str = "shop"
    owner: str = "shop"
    why: str = "Shops need it."


@dataclass
class EchoBackend:
    """Runs the handlers without a context, and notes every call."""

    operations: list[Operation[..., Any]] = field(default_factory=operations)
    services: list[Card] = field(default_factory=lambda: [Card()])
    calls: list[Call] = field(default_factory=list[Call])
    reason: str = ""
    wait: asyncio.Event | None = None
    awaited: int = 1
    entered: asyncio.Event = field(default_factory=asyncio.Event)

    async def authenticate(self, authorization: str, host: str, site: str) -> Caller:
        if authorization == "Bearer full":
            return Caller(
                site or "site_1", Principal("key_1", frozenset({"shop.*"}), "key", "site_1")
            )
        if authorization:
            raise Unauthenticated("No such key.")
        return Caller(site or "site_1", PUBLIC_PRINCIPAL)

    async def invoke(
        self,
        operation: Operation[..., Any],
        caller: Caller,
        arguments: dict[str, Any],
        *,
        key: str | None,
        request_hash: str,
        deadline: float,
        trace: str,
        token: str,
    ) -> Answer:
        self.calls.append(
            Call(operation.name, arguments, key, request_hash, deadline, trace, token)
        )
        if operation.needs is not PUBLIC and not caller.principal.allows(str(operation.needs)):
            raise Denied("No permission.")
        if len(self.calls) >= self.awaited:
            self.entered.set()
        if self.wait is not None:
            await self.wait.wait()
        value = await operation.fn(None, **arguments)
        headers = [] if operation.kind == "query" else [("hansa-position", "cell:1:7")]
        return Answer(operation.status, codec.encode(value), headers)

    def ready(self) -> str:
        return self.reason
