"""What commerce publishes. Fields are added with a default; anything else is a new version."""

from hansa.kernel.ids import ID
from hansa.kernel.structs import Event, Struct


class ProductCreated(Event, aggregate="id"):
    """A product is in the catalogue."""

    id: ID
    handle: str
    title: str


class ProductChanged(Event, aggregate="id"):
    """A product is not what it was; `version` is the one that it has now."""

    id: ID
    handle: str
    version: int


class StockMoved(Event, aggregate="variant_id"):
    """Stock was received, adjusted or returned."""

    variant_id: ID
    kind: str
    quantity: int


class OrderLine(Struct):
    """A line of an order, as others need it."""

    product_id: ID
    variant_id: ID
    quantity: int
    amount_minor: int


class OrderPlaced(Event, aggregate="id"):
    """A cart became an order, and its money is here; `day` is that of the site's time zone."""

    id: ID
    number: int
    cart_id: ID
    currency: str
    total_minor: int
    day: str
    lines: tuple[OrderLine, ...]


class OrderRefunded(Event, aggregate="id"):
    """Money of an order went back."""

    id: ID
    amount_minor: int


class OrderCancelled(Event, aggregate="id"):
    """An order is no more; its stock is back."""

    id: ID


class PaymentDeclined(Event, aggregate="cart_id"):
    """A cart was not paid."""

    cart_id: ID
    reason: str


class PaymentStuck(Event, aggregate="id"):
    """The provider will not give back money that bought nothing: a person must see to it."""

    id: ID
    reason: str


class PaymentOrphaned(Event, aggregate="id"):
    """Money came for goods that are gone; it is being given back."""

    id: ID
    cart_id: ID
    amount_minor: int
