"""Choices: which attributes are offered, in which order, and how prices fall into ranges."""

from hypothesis import given
from hypothesis import strategies as st

from hansa.storefront.choices import (
    PRICES_MAX,
    VALUES_MAX,
    Choice,
    Counts,
    chips,
    ladder,
    offered,
    range_text,
    useful,
)
from hansa.storefront.wish import BRAND, PRICE, Wish


def counted(*minors: int, currency: str = "EUR") -> list[tuple[str, int]]:
    """Prices as search counts them, in the ranges of the ladder."""
    return [
        ("", sum((low is None or low <= one) and (high is None or one < high) for one in minors))
        for low, high in ladder(currency)
    ]


def prices(wish: Wish, *minors: int, currency: str = "EUR") -> Choice | None:
    found = offered(wish, {PRICE: counted(*minors, currency=currency)}, len(minors), currency)
    return found[0] if found else None


def test_what_divides_the_documents_is_useful() -> None:
    documents = [
        {"group": "Kitchen", "material": "Oak", "ean": str(number), "made_in": "Poland"}
        for number in range(20)
    ]
    documents += [{"group": "Home", "material": "Clay", "ean": "x", "rare": "yes", "made_in": "Po"}]
    assert useful(documents) == ("group", "made_in", "material")
    assert useful([]) == ()
    assert useful([{"a": "x" * 61}, {"a": "y"}, {"a": "y"}, {"a": "y"}]) == ()


def test_a_name_that_no_address_can_say_is_not_offered() -> None:
    assert useful([{"a\\b": one, "c..d": one, "e\nf": one} for one in "xxyy"]) == ()


def test_what_says_what_a_thing_is_comes_first_then_brand_and_price() -> None:
    wish = Wish()
    counts = {
        BRAND: [("Kogge", 3), ("Fehn", 2)],
        PRICE: counted(500, 900, 3_000, 4_000, 9_000),
        "attributes.colour": [("Red", 4), ("Blue", 1)],
        "attributes.group": [("Kitchen", 3), ("Home", 2)],
        "attributes.alone": [("so", 5)],
        "attributes.many": [(str(number), 1) for number in range(VALUES_MAX + 1)],
    }
    assert [one.name for one in offered(wish, counts, 5, "EUR")] == [
        "Group", "Brand", "Price", "Colour",
    ]  # fmt: skip


def test_what_is_chosen_stays_even_where_nothing_has_it() -> None:
    wish = Wish(chosen=(("attributes.colour", "Green"),))
    (choice,) = offered(wish, {"attributes.colour": [("Red", 4)]}, 4, "EUR")
    assert [(one.text, one.count, one.is_chosen) for one in choice.options] == [
        ("Green", 0, True), ("Red", 4, False),
    ]  # fmt: skip
    assert choice.options[0].wish == Wish()


def test_values_of_other_types_are_written_as_people_read_them() -> None:
    wish = Wish(chosen=(("attributes.safe", "true"),))
    counts: dict[str, Counts] = {
        "attributes.safe": [(True, 2), (False, 1)],
        "attributes.litres": [(1.5, 2), (2, 1)],
    }
    safe, litres = offered(wish, counts, 3, "EUR")
    assert [(one.text, one.value, one.is_chosen) for one in safe.options] == [
        ("Yes", "true", True), ("No", "false", False),
    ]  # fmt: skip
    assert [one.value for one in litres.options] == ["1.5", "2"]
    assert [one.text for one in chips(wish, "EUR")] == ["Safe: yes"]


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=50))
def test_every_price_is_in_exactly_one_range(minors: list[int]) -> None:
    for currency in ("EUR", "JPY", "KWD"):
        assert sum(count for _, count in counted(*minors, currency=currency)) == len(minors)
        choice = prices(Wish(), *minors, currency=currency)
        if choice is not None:
            assert len(choice.options) <= PRICES_MAX
            assert sum(one.count for one in choice.options) == len(minors)


def test_a_chosen_range_stays_as_it_is() -> None:
    many = [*range(500, 60_000, 400)]
    before = prices(Wish(), *many)
    assert before is not None
    for one in before.options:
        after = prices(one.wish, *many, 100_000, 3)
        assert after is not None
        assert [other.value for other in after.options if other.is_chosen] == [one.value]
        again = next(other for other in after.options if other.is_chosen)
        assert again.wish == Wish()


def test_ranges_in_words() -> None:
    assert range_text((None, 1_000), "EUR") == "Under €10"
    assert range_text((1_000, 2_550), "EUR") == "€10 – €25.50"
    assert range_text((100_000, None), "JPY") == "¥100,000 and more"
