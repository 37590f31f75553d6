"""Currencies: the codes that a site may sell in, and how many decimals their smallest unit has.

Source: ISO 4217 list one (currencies and minor units, published by the maintenance agency SIX), as
of 2026: national currencies in use and those of monetary unions. Without fund codes, precious
metals and test codes, which are no prices. Withdrawn codes stay valid where they are stored.
"""

from types import MappingProxyType
from typing import Final

_TWO: Final = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF
CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL
HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT
MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB
SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH
USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG
"""
_NONE: Final = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_THREE: Final = "BHD IQD JOD KWD LYD OMR TND"

DECIMALS: Final = MappingProxyType(
    {
        **dict.fromkeys(_TWO.split(), 2),
        **dict.fromkeys(_NONE.split(), 0),
        **dict.fromkeys(_THREE.split(), 3),
    }
)
"""By code, how many decimals the minor unit stands for: 2 for EUR, 0 for JPY, 3 for KWD."""


def check_currency(code: str) -> str:
    """Return `code` if a site may sell in it. Raises ValueError otherwise."""
    if code not in DECIMALS:
        raise ValueError(f"{code[:8]!r} is not a currency of ISO 4217, such as EUR, USD or JPY")
    return code
