"""Stock and orders are sums of ledgers: never negative, never more given back than was paid."""

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.business.commerce import order, stock
from hansa.business.commerce.order import OrderEvent, OrderRefused
from hansa.business.commerce.stock import Level, StockRefused

moves = st.tuples(st.sampled_from(get_args(stock.Kind)), st.integers(1, 20))
adjustments = st.tuples(st.just("adjust"), st.integers(-20, 20).filter(bool))
events = st.builds(
    OrderEvent, st.sampled_from(["paid", "refunded", "cancelled", "fulfilled"]), st.integers(0, 50)
)


@given(st.lists(moves | adjustments, max_size=60))
def test_no_ledger_makes_stock_negative_or_promises_what_is_not_there(found: list[Any]) -> None:
    level, done = Level(), []
    for kind, quantity in found:
        try:
            after = stock.apply(level, kind, quantity)
        except StockRefused:
            continue
        done.append((kind, quantity))
        level = after
        assert 0 <= level.reserved <= level.on_hand
        assert level.available == level.on_hand - level.reserved
    assert stock.fold(done) == level


@given(st.integers(1, 1000), st.integers(1, 1000))
def test_a_promise_that_is_claimed_or_released_leaves_nothing_promised(
    there: int, wanted: int
) -> None:
    level = stock.apply(Level(), "receive", there)
    if wanted > there:
        with pytest.raises(StockRefused):
            stock.apply(level, "reserve", wanted)
        return
    held = stock.apply(level, "reserve", wanted)
    assert stock.apply(held, "release", wanted) == level
    assert stock.apply(held, "claim", wanted) == Level(there - wanted, 0)


@pytest.mark.parametrize(("kind", "quantity"), [("receive", 0), ("reserve", -1), ("adjust", 0)])
def test_a_quantity_is_a_quantity(kind: Any, quantity: int) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        stock.apply(Level(5, 0), kind, quantity)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9))))
def test_demands_are_summed_by_item_and_in_order(lines: list[tuple[str, int]]) -> None:
    wanted = stock.demand(lines)
    assert list(wanted) == sorted({item for item, _ in lines})
    assert sum(wanted.values()) == sum(quantity for _, quantity in lines)
    for item, quantity in wanted.items():
        assert quantity == sum(q for i, q in lines if i == item)


def test_a_demand_is_of_at_least_one() -> None:
    with pytest.raises(ValueError, match="at least one"):
        stock.demand([("a", 0)])


def test_a_reservation_goes_one_way_and_may_be_told_twice() -> None:
    assert stock.next_state("held", "claim") == "claimed"
    assert stock.next_state("claimed", "claim") == "claimed"
    assert stock.next_state("released", "release") == "released"
    with pytest.raises(StockRefused):
        stock.next_state("released", "claim")
    with pytest.raises(StockRefused):
        stock.next_state("claimed", "release")


@given(st.integers(1, 100), st.lists(events, max_size=30))
def test_no_history_gives_back_more_than_was_paid(paid: int, found: list[OrderEvent]) -> None:
    states = order.fold([OrderEvent("placed"), OrderEvent("paid", paid)])
    done = [OrderEvent("placed"), OrderEvent("paid", paid)]
    for event in found:
        try:
            after = order.after(states, event)
        except OrderRefused:
            continue
        done.append(event)
        states = after
        assert 0 <= states.refunded_minor <= states.paid_minor
        assert states.payment == order.payment_of(states.paid_minor, states.refunded_minor)
        assert not (states.order == "cancelled" and states.fulfilment == "fulfilled")
    assert order.fold(done) == states


def test_an_order_begins_with_being_placed_once() -> None:
    for wrong in ([], [OrderEvent("paid", 1)], [OrderEvent("placed"), OrderEvent("placed")]):
        with pytest.raises(OrderRefused):
            order.fold(wrong)
