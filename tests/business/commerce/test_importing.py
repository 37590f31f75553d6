"""A line is a product or a fault that says what is wrong with it."""

import gzip
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.business.commerce.catalogue import NewProduct
from hansa.business.commerce.importing import LINE_BYTES_MAX, LineFault, parse, slug

OWN = (
    b'{"handle":"mug","title":"Mug","variants":[{"sku":"M","price":{"minor":1,"currency":"EUR"}}]}'
)


def test_both_forms_are_read() -> None:
    own = parse(1, OWN, "EUR", 5)
    assert isinstance(own, NewProduct)
    assert own.variants[0].stock == 0  # the line could have said
    icecat = parse(
        2,
        b'{"id":"42","title":" B\xc3\xbcro 3 ","price":1999,"ean":["1","2"],"attr_n_x":1.5}',
        "EUR",
        5,
    )
    assert isinstance(icecat, NewProduct)
    assert (icecat.handle, icecat.title) == ("buro-3-42", "Büro 3")
    assert (icecat.variants[0].price.minor, icecat.variants[0].stock) == (1999, 5)
    assert icecat.attributes == {"ean": "1, 2", "x": 1.5}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{", "DecodeError"),
        (b"[]", "a JSON object"),
        (b'"x"', "a JSON object"),
        (b"{}", "KeyError: 'id'"),
        (b'{"id":"1","title":"x","price":"dear"}', "dear"),
        (b'{"id":"1","title":"x","price":-1}', "not negative"),
        (b'{"id":"1","title":" "}', "title"),
        (b'{"id":"' + b"9" * 200 + b'","title":"x"}', "length"),
        (OWN.replace(b'"Mug"', b"7"), "$.title"),
        (OWN.replace(b'"mug"', b'"No Handle"'), "$.handle"),
        (OWN.replace(b'"title"', b'"titel"'), "titel"),
        (OWN.replace(b"EUR", b"eur"), "currency"),
        (OWN + b" " * LINE_BYTES_MAX, "longer than"),
        (b"\xff\xfe", "DecodeError"),
        (b"[" * 5000, ""),
    ],
)
def test_a_fault_says_where_and_what(line: bytes, told: str) -> None:
    fault = parse(7, line, "EUR", 0)
    assert isinstance(fault, LineFault)
    assert fault.line == 7
    assert told in fault.detail


@given(st.binary(max_size=200))
def test_no_bytes_raise(line: bytes) -> None:
    assert isinstance(parse(1, line, "EUR", 0), NewProduct | LineFault)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(
    st.sampled_from(["id", "title", "price", "handle", "ean", "attr_t_a", "attr_n_b", "variants"]),
    json_values,
))  # fmt: skip
def test_no_object_raises(row: dict[str, object]) -> None:
    try:
        line = msgspec.json.encode(row)
    except (msgspec.MsgspecError, UnicodeEncodeError, OverflowError):
        return
    assert isinstance(parse(1, line, "EUR", 0), NewProduct | LineFault)


@given(st.text())
def test_a_slug_has_the_letters_of_a_handle(text: str) -> None:
    made = slug(text)
    assert not made or all(part.isalnum() and part.isascii() for part in made.split("-"))


def test_every_real_product_is_read(electronics: Path) -> None:
    handles: set[str] = set()
    with gzip.open(electronics / "products.ndjson.gz") as lines:
        for number, line in enumerate(lines, start=1):
            product = parse(number, line, "EUR", 0)
            assert isinstance(product, NewProduct), product
            handles.add(product.handle)
    assert len(handles) == 19_406
