"""What one release says is understood by the one before and the one after, or refused."""

from typing import Annotated, Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from hansa.kernel import codec
from hansa.kernel.contracts import ContractUnknown
from hansa.kernel.operation import Operation, Parameter
from hansa.kernel.remote.releases import heard, spoken, terse
from hansa.kernel.sealing import Sealer
from hansa.kernel.stored import Stored
from hansa.kernel.structs import Struct
from tests.kernel.cells import MASTER


class OldLine(Struct):
    sku: str
    count: int = 1


class NewLine(Struct):
    sku: str
    count: int = 1
    gift: bool = False


class Card(Struct, tag="card"):
    last: str


class NewCard(Struct, tag="card"):
    last: str
    brand: str = ""


class Cash(Struct, tag="cash"):
    given: int = 0


class OldCart(Struct):
    lines: tuple[OldLine, ...]
    paid: Card | Cash | None = None
    by_name: dict[str, OldLine] = {}
    pair: tuple[int, OldLine] | None = None
    named: Annotated[list[OldLine], Meta(max_length=9)] = []


class NewCart(Struct):
    lines: tuple[NewLine, ...]
    paid: NewCard | Cash | None = None
    by_name: dict[str, NewLine] = {}
    pair: tuple[int, NewLine] | None = None
    named: Annotated[list[NewLine], Meta(max_length=9)] = []
    note: str = ""


old_lines = st.builds(OldLine, st.text(max_size=3), st.integers(0, 3))
new_lines = st.builds(NewLine, st.text(max_size=3), st.integers(0, 3), st.booleans())


def carts(cart: Any, lines: Any, card: Any) -> Any:
    paid = st.none() | card | st.builds(Cash, st.integers(0, 2))
    return st.builds(
        cart,
        lines=st.lists(lines, max_size=2).map(tuple),
        paid=paid,
        by_name=st.dictionaries(st.text(max_size=2), lines, max_size=2),
        pair=st.none() | st.tuples(st.integers(0, 2), lines),
        named=st.lists(lines, max_size=2),
    )


old_carts = carts(OldCart, old_lines, st.builds(Card, st.text(max_size=2)))
new_carts = carts(
    NewCart, new_lines, st.builds(NewCard, st.text(max_size=2), st.sampled_from(["", "visa"]))
)


def old_of(cart: NewCart) -> OldCart:
    """What a release that knows less may see of a cart."""

    def line(one: NewLine) -> OldLine:
        return OldLine(one.sku, one.count)

    paid = Card(cart.paid.last) if isinstance(cart.paid, NewCard) else cart.paid
    return OldCart(
        tuple(line(one) for one in cart.lines),
        paid,
        {name: line(one) for name, one in cart.by_name.items()},
        (cart.pair[0], line(cart.pair[1])) if cart.pair else None,
        [line(one) for one in cart.named],
    )


@given(new_carts)
def test_what_a_later_release_answers_is_understood(cart: NewCart) -> None:
    assert heard(codec.encode(cart), OldCart) == old_of(cart)


@given(old_carts)
def test_what_an_earlier_release_answers_is_understood(cart: OldCart) -> None:
    seen = heard(codec.encode(cart), NewCart)
    assert old_of(seen) == cart


@given(new_carts)
def test_what_is_sent_is_what_was_meant(cart: NewCart) -> None:
    assert codec.decode(codec.encode(terse(cart)), NewCart) == cart


@given(old_carts)
def test_who_uses_nothing_new_is_taken_by_the_earlier_release(cart: OldCart) -> None:
    raised = codec.decode(codec.encode(cart), NewCart)
    assert codec.decode(codec.encode(terse(raised)), OldCart) == cart


def test_an_answer_that_does_not_fit_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        heard(b'{"lines": [{"count": 1}], "note": ""}', OldCart)


class Reading(Struct, array_like=True):
    at: int
    value: int = 0


def test_what_is_no_object_is_sent_as_it_is() -> None:
    assert codec.encode(terse([Reading(1), Reading(2, 3)])) == b"[[1,0],[2,3]]"


async def _buy(ctx: Any, cart: Any, limit: int = 20) -> None: ...


def buy(cart: Any, *more: Parameter) -> Operation[..., Any]:
    body = Parameter("cart", "body", cart, True, None)
    return Operation("shop", "buy", "command", _buy, "shop:buy", parameters=(body, *more))


LIMIT = Parameter("limit", "query", int, False, 20)


def test_arguments_that_an_earlier_release_does_not_take_are_refused_and_not_passed_over() -> None:
    stored = Stored((), Sealer([MASTER]))
    later, earlier = buy(NewCart, LIMIT), buy(OldCart)
    plain = {"cart": NewCart((NewLine("a"),)), "limit": 20}
    sent = codec.encode(spoken(later, plain))
    assert stored.operation_arguments(earlier, sent) == {"cart": OldCart((OldLine("a"),))}
    for name, value in (("cart", NewCart((NewLine("a", gift=True),))), ("limit", 7)):
        given = cast(dict[str, Any], {**plain, name: value})
        with pytest.raises(ContractUnknown):
            stored.operation_arguments(earlier, codec.encode(spoken(later, given)))
        assert stored.operation_arguments(later, codec.encode(spoken(later, given)))[name] == value
