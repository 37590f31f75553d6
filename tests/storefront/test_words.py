"""Money, drawings, marks, cookies: small things that must not be wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from hansa.storefront.cookies import Basket, Find, read_basket, read_finds, with_find
from hansa.storefront.drawing import TINTS, drawing_of, tint_of
from hansa.storefront.files import FILES
from hansa.storefront.listing import corrected
from hansa.storefront.money import short, told
from hansa.storefront.visit import marked, picture, templates


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (129_900, "EUR", "€1,299.00"), (800, "JPY", "¥800"), (5, "USD", "$0.05"),
        (1_250, "CHF", "CHF\u00a012.50"), (1_234, "KWD", "KWD\u00a01.234"), (0, "GBP", "£0.00"),
        (2**53 - 1, "EUR", "€90,071,992,547,409.91"),
    ],
)  # fmt: skip
def test_money(minor: int, currency: str, text: str) -> None:
    assert told(minor, currency) == text


def test_money_without_decimals_that_say_nothing() -> None:
    assert (short(2_500, "EUR"), short(2_550, "EUR"), short(25, "JPY")) == ("€25", "€25.50", "¥25")


@given(st.text(max_size=30), st.text(max_size=10), st.text(max_size=30))
def test_only_the_found_words_are_marked(before: str, word: str, after: str) -> None:
    given = f"{escape(before)}<mark>{escape(word)}</mark>{escape(after)}"
    assert marked(before + word + after, given) == given


@pytest.mark.parametrize(
    "highlighted", ["", "Blue", "<mark>Blue</mark> <script>", "<mark>Blue mug", "Blue <b>mug</b>"]
)
def test_what_is_not_the_marked_title_is_not_shown(highlighted: str) -> None:
    assert marked("Blue mug", highlighted) == "Blue mug"
    assert marked("<i>", highlighted) == "&lt;i&gt;"


def test_no_browser_is_sent_to_strangers() -> None:
    assert picture("/files/site_1/blob_2") == "/files/site_1/blob_2"
    for address in ("http://a.example/a.png", "//a.example/a.png", "/\\a.example", "a.png", "",
                    "javascript:alert(1)", "data:image/png;base64,AA"):  # fmt: skip
        assert picture(address) == ""


def test_a_drawing_is_of_the_thing_and_in_its_colour() -> None:
    assert drawing_of("Oak cutting board", {}) == "board"
    assert drawing_of("Wool blankets", {}) == "cloth"
    assert drawing_of("Thing", {"product_type": "Mugs"}) == "mug"
    assert drawing_of("", {}) == "parcel"
    assert tint_of("a", "Thing", {"colour": "Red"}) == tint_of("b", "Red thing", {}) == 3
    assert 0 <= tint_of("prod_x", "Thing", {}) < TINTS


def test_each_drawing_and_colour_is_there() -> None:
    from hansa.storefront import drawing

    assert templates.loader is not None
    symbols, _, _ = templates.loader.get_source(templates, "drawings.html")
    for name in {*drawing._WORDS, "parcel"}:
        assert f'id="d-{name}"' in symbols
    sheet = FILES["shop.css"].body.decode()
    assert all(f".t{number} " in sheet for number in range(TINTS))


def test_the_words_that_stand_for_those_nobody_knows() -> None:
    assert corrected("blue ketle", {"ketle": ("kettle", "kettles")}) == "blue kettle"
    assert corrected("Ketle!", {"ketle": ("kettle",)}) == "kettle!"
    assert corrected("blue mug", {}) == ""
    assert corrected("mugg-s", {"muggs": ("mugs",)}) == "mugs"


def test_cookies() -> None:
    cart = "cart_01m7za6rc4ezbrsd9k7y6hhwyv"
    assert read_basket(f"{cart}.3") == Basket(cart, 3)
    assert read_basket(Basket(cart, 3).text) == Basket(cart, 3)
    for nonsense in (
        "",
        "cart_",
        f"{cart}.x",
        f"{cart}/../orders.1",
        f" {cart}.1",
        "prod_0123456789",
    ):
        assert read_basket(nonsense) == Basket()
    finds = tuple(Find(f"prod_{number}", number, "q") for number in range(1, 6))
    text = with_find(finds, Find("prod_9", 2, "abc-_"))
    assert [one.product for one in read_finds(text)] == [
        "prod_9",
        *(f"prod_{n}" for n in range(1, 5)),
    ]
    assert len(read_finds(with_find(finds, finds[2]))) == 5
    assert read_finds("prod_1.0.q~x~prod_2.1.~prod_3.1.q") == (Find("prod_3", 1, "q"),)


@given(st.text(max_size=80))
def test_no_cookie_is_refused(text: str) -> None:
    read_basket(text)
    read_finds(text)
