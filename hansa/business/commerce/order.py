"""Order: three states, each a fold over the order's events. Pure; history is never rewritten."""

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from hansa.kernel.structs import Struct

OrderState = Literal["placed", "cancelled"]
PaymentState = Literal["paid", "part_refunded", "refunded"]
FulfilmentState = Literal["none", "fulfilled"]
Type = Literal["placed", "paid", "refunded", "cancelled", "fulfilled"]


class OrderEvent(Struct):
    """What happened to an order; `amount_minor` where money moved."""

    type: Type
    amount_minor: int = 0


class States(Struct):
    """An order's states and the money behind them."""

    order: OrderState = "placed"
    payment: PaymentState = "paid"
    fulfilment: FulfilmentState = "none"
    paid_minor: int = 0
    refunded_minor: int = 0


class OrderRefused(Exception):
    """The event cannot happen to an order in this state."""


_ALLOWED: Final[Mapping[Type, frozenset[tuple[OrderState, FulfilmentState]]]] = {
    "paid": frozenset({("placed", "none")}),
    "refunded": frozenset({("placed", "none"), ("placed", "fulfilled"), ("cancelled", "none")}),
    "cancelled": frozenset({("placed", "none")}),
    "fulfilled": frozenset({("placed", "none")}),
}


def after(states: States, event: OrderEvent) -> States:
    """Return the states after an event. Raises OrderRefused for one that cannot happen."""
    if (states.order, states.fulfilment) not in _ALLOWED.get(event.type, frozenset()):
        raise OrderRefused(f"{event.type}: the order is {states.order}, {states.fulfilment}")
    paid, refunded = states.paid_minor, states.refunded_minor
    order, fulfilment = states.order, states.fulfilment
    if event.type == "paid":
        paid += event.amount_minor
    elif event.type == "refunded":
        refunded += event.amount_minor
        if event.amount_minor < 1 or refunded > paid:
            raise OrderRefused(f"refunds are at most what was paid, {paid} in all")
    elif event.type == "cancelled":
        order = "cancelled"
    elif event.type == "fulfilled":
        fulfilment = "fulfilled"
    return States(order, payment_of(paid, refunded), fulfilment, paid, refunded)


def payment_of(paid_minor: int, refunded_minor: int) -> PaymentState:
    """Return how the payment stands by its sums."""
    if not refunded_minor:
        return "paid"
    return "refunded" if refunded_minor >= paid_minor else "part_refunded"


def fold(events: Iterable[OrderEvent]) -> States:
    """Return the states of an order from its events, the first of which is `placed`."""
    found = iter(events)
    first = next(found, None)
    if first is None or first.type != "placed":
        raise OrderRefused("an order begins with being placed")
    states = States()
    for event in found:
        states = after(states, event)
    return states
