"""Pricing: from lines to totals, in integers. Pure; the same input gives the same cents for ever.

Tax is rounded once per rate over the whole order, half up, as EN 16931 rule BR-CO-17 has it. Where
prices include tax, the tax is taken out of the gross, so that net + tax = gross by construction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from hansa.kernel.structs import Struct

BASIS_POINTS = 10_000


class PricedLine(Struct):
    """A line of a cart at its price: `amount_minor` is unit price times quantity."""

    variant_id: str
    product_id: str
    sku: str
    title: str
    quantity: int
    unit_minor: int
    amount_minor: int


class TaxGroup(Struct):
    """All lines of one rate: the rate in basis points, what it is taken of, and the tax."""

    rate_bp: int
    base_minor: int
    tax_minor: int


class Priced(Struct):
    """A cart with all its sums, in minor units of one currency."""

    currency: str
    lines: tuple[PricedLine, ...]
    net_minor: int
    tax_minor: int
    total_minor: int
    taxes: tuple[TaxGroup, ...]


@dataclass(frozen=True, slots=True)
class Taxed:
    """An amount and the rate that it is under."""

    amount_minor: int
    rate_bp: int


def divide(numerator: int, denominator: int) -> int:
    """Return a quotient rounded to a whole number, halves away from zero."""
    exact = Fraction(numerator, denominator)
    size = abs(exact)
    whole = (2 * size.numerator + size.denominator) // (2 * size.denominator)
    return whole if exact >= 0 else -whole


def tax_of(amount_minor: int, rate_bp: int, *, inclusive: bool) -> int:
    """Return the tax on an amount that it is added to, or that includes it."""
    below = BASIS_POINTS + rate_bp if inclusive else BASIS_POINTS
    return divide(amount_minor * rate_bp, below)


def taxes(amounts: Sequence[Taxed], *, inclusive: bool) -> tuple[TaxGroup, ...]:
    """Return the tax of amounts, one group a rate, ordered by rate."""
    bases: dict[int, int] = {}
    for one in amounts:
        bases[one.rate_bp] = bases.get(one.rate_bp, 0) + one.amount_minor
    return tuple(
        TaxGroup(rate, base, tax_of(base, rate, inclusive=inclusive))
        for rate, base in sorted(bases.items())
    )


def price(
    currency: str, lines: Sequence[PricedLine], *, rate_bp: int = 0, inclusive: bool = True
) -> Priced:
    """Return lines with their sums, all under one rate."""
    groups = taxes([Taxed(line.amount_minor, rate_bp) for line in lines], inclusive=inclusive)
    amount = sum(line.amount_minor for line in lines)
    tax = sum(group.tax_minor for group in groups)
    net, total = (amount - tax, amount) if inclusive else (amount, amount + tax)
    return Priced(currency, tuple(lines), net, tax, total, groups)
