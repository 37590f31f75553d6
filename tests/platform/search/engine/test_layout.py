import struct

from hypothesis import given
from hypothesis import strategies as st

from hansa.platform.search.engine.layout import (
    engine_schema,
    fingerprint,
    number_of,
    order_of,
    popularity_of,
)
from hansa.platform.search.schema import Field, Schema
from tests.platform.search.engine.shelf import MUGS

popularities = st.floats(0, 2.0**100, width=32)


@given(st.text(max_size=20), st.text(max_size=20), popularities, popularities)
def test_of_two_documents_the_more_popular_comes_first(
    one: str, other: str, much: float, little: float
) -> None:
    assert popularity_of(order_of(one, much)) == struct.unpack("f", struct.pack("f", much))[0]
    if much > little:
        assert order_of(one, much) > order_of(other, little)
    elif much == little and one != other:
        assert (order_of(one, much) > order_of(other, much)) == (
            number_of(one) & 0xFFFFFFFF > number_of(other) & 0xFFFFFFFF
        )
    assert order_of(one, -1.0) == order_of(one, 0.0)


def test_numbers_of_documents_are_the_same_everywhere_and_for_ever() -> None:
    """They are kept in indexes: another hash is another layout."""
    assert number_of("prod_1") == 627862197857704646
    assert number_of("") == 16476032584258269876


def test_schemas_that_lay_out_documents_otherwise_have_another_fingerprint() -> None:
    heavier = Schema((*MUGS.fields[:-1], Field("more", "json", weight=2)), title=MUGS.title)
    german = Schema(MUGS.fields, title=MUGS.title, locale="de")
    assert len({fingerprint(MUGS), fingerprint(heavier), fingerprint(german)}) == 3
    assert engine_schema(MUGS) is engine_schema(Schema(MUGS.fields, title=MUGS.title))
