"""Money: a price as people read it. Pure."""

from decimal import Decimal
from typing import Final

from hansa.platform.sites.currencies import DECIMALS

_SIGNS: Final = {"EUR": "€", "USD": "$", "GBP": "£", "JPY": "¥", "INR": "₹", "KRW": "₩", "ILS": "₪"}
"""Signs that are of one currency alone, or that most take for it; others stand with their code."""
_NO_BREAK: Final = "\u00a0"


def decimals_of(currency: str) -> int:
    """Return how many decimals a currency has, 2 for one that was withdrawn since."""
    return DECIMALS.get(currency, 2)


def told(minor: int, currency: str) -> str:
    """Return an amount of minor units in words: ``€1,299.00``, ``CHF 12.50``, ``¥800``."""
    places = decimals_of(currency)
    number = f"{Decimal(minor).scaleb(-places):,.{places}f}"
    sign = _SIGNS.get(currency)
    return f"{currency}{_NO_BREAK}{number}" if sign is None else f"{sign}{number}"


def short(minor: int, currency: str) -> str:
    """Return an amount as `told`, without decimals where they say nothing: ``€25``."""
    text = told(minor, currency)
    places = decimals_of(currency)
    return text if minor % 10**places or not places else text[: -places - 1]
