"""Prices are the sums of their parts, to the smallest unit, and match vectors of others."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.business.commerce.pricing import (
    BASIS_POINTS,
    PricedLine,
    Taxed,
    divide,
    price,
    tax_of,
    taxes,
)

amounts = st.integers(-(10**12), 10**12)
rates = st.integers(0, 10_000)


def line(amount: int, quantity: int = 1) -> PricedLine:
    return PricedLine("v", "p", "s", "t", quantity, amount, amount * quantity)


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(1, 100)), max_size=20), rates,
       st.booleans())  # fmt: skip
def test_net_and_tax_are_the_total(
    wanted: list[tuple[int, int]], rate: int, inclusive: bool
) -> None:
    priced = price("EUR", [line(*one) for one in wanted], rate_bp=rate, inclusive=inclusive)
    amount = sum(one.amount_minor for one in priced.lines)
    assert priced.net_minor + priced.tax_minor == priced.total_minor
    assert (priced.total_minor if inclusive else priced.net_minor) == amount
    assert priced.tax_minor == sum(group.tax_minor for group in priced.taxes)


@given(st.lists(st.tuples(amounts, st.sampled_from([0, 700, 1900])), max_size=20), st.booleans())
def test_tax_is_rounded_once_a_rate_and_never_off_by_more_than_half(
    found: list[tuple[int, int]], inclusive: bool
) -> None:
    groups = taxes([Taxed(*one) for one in found], inclusive=inclusive)
    assert [one.rate_bp for one in groups] == sorted({rate for _, rate in found})
    for group in groups:
        assert group.base_minor == sum(amount for amount, rate in found if rate == group.rate_bp)
        below = BASIS_POINTS + (group.rate_bp if inclusive else 0)
        exact = Fraction(group.base_minor * group.rate_bp, below)
        assert abs(group.tax_minor - exact) <= Fraction(1, 2)


@given(amounts, st.integers(1, 10**6))
def test_halves_go_away_from_zero(numerator: int, denominator: int) -> None:
    assert divide(numerator, denominator) == -divide(-numerator, denominator)
    assert abs(divide(numerator, denominator) - Fraction(numerator, denominator)) <= Fraction(1, 2)


# Cents from the bug reports of peers; each is the right answer to what went wrong there.
@pytest.mark.parametrize(
    ("source", "amount", "rate_bp", "tax"),
    [
        ("vendure order-calculator.spec: surcharge 2.40 at 20 % is 2.88", 240, 2000, 48),
        ("reaction#4684: 19.99 at 10 %", 1999, 1000, 200),
        ("vendure#2662: 164.02 at 2.6 % by order", 16402, 260, 426),
        ("CoreShop#1849: 14.28 net, ten at 19 %, by line 169.93", 14280, 1900, 2713),
        ("CoreShop#1849: 14.28 net, one at 19 %, by unit 16.99", 1428, 1900, 271),
        ("EN 16931 BR-CO-17: a negative base mirrors", -1999, 1000, -200),
    ],
)
def test_tax_that_is_added(source: str, amount: int, rate_bp: int, tax: int) -> None:
    assert tax_of(amount, rate_bp, inclusive=False) == tax, source


# vendure#2662: 38.23 gross, ten at 20 %: net 318.58 by line, 318.60 by unit.
def test_tax_that_is_included() -> None:
    assert 38_230 - tax_of(38_230, 2000, inclusive=True) == 31_858
    assert 10 * (3_823 - tax_of(3_823, 2000, inclusive=True)) == 31_860


def test_medusas_totals() -> None:
    # medusa totals/__tests__/totals.ts: 30x2 at 10 % and 5x1 at 50 %: 65, 8.50, 73.50.
    groups = taxes([Taxed(6000, 1000), Taxed(500, 5000)], inclusive=False)
    assert [one.tax_minor for one in groups] == [600, 250]
    assert 6500 + sum(one.tax_minor for one in groups) == 7350


def test_a_percentage_off() -> None:
    # saleor#12040: 19.99 less 25 % is 14.99; medusa#14818: 24.99 at 10.75 % and 6.44 is 34.12.
    assert 1999 - divide(1999 * 2500, BASIS_POINTS) == 1499
    assert 2499 + tax_of(2499, 1075, inclusive=False) + 644 == 3412
