"""Hosts, locales, currencies and zones have one spelling, and nothing else passes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.platform.sites.currencies import DECIMALS, check_currency
from hansa.platform.sites.hosts import check_host, host_of_header
from hansa.platform.sites.locales import check_locale
from hansa.platform.sites.zones import check_zone

# ---- hosts


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Shop.Example.COM", "shop.example.com"),
        ("shop.example.com.", "shop.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),  # RFC 3492 section 7.1 has the method
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("straße.de", "xn--strae-oqa.de"),  # IDNA 2008 keeps the sharp s (RFC 5894 section 7.2)
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),  # the ideographic full stop is mapped by UTS 46
        ("localhost", "localhost"),
        ("tea.localhost", "tea.localhost"),
        ("1and1.com", "1and1.com"),
    ],
)
def test_a_host_has_one_spelling(text: str, host: str) -> None:
    assert check_host(text) == host
    assert check_host(host) == host


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "shop", "shop..com", "-a.com", "a-.com", "a_b.com", "a.com:80", "*.a.com", "a b.c",
        "127.0.0.1", "10.1", "::1", "[::1]", "1.2.3.4.", "x" * 64 + ".com", "a." * 127 + "com",
        "http://a.com", "a.com/x", "a\n.com", "\ud800.com", "xn--a.com", "a.123", "\u0661.\u0660",
    ],
)  # fmt: skip
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a host name"):
        check_host(text)


@given(st.text(max_size=40))
def test_an_accepted_host_stays_as_it_is(text: str) -> None:
    try:
        host = check_host(text)
    except ValueError:
        return
    assert check_host(host) == host
    assert host_of_header(host) == host
    assert host_of_header(f"{host.upper()}:8443") == host


@pytest.mark.parametrize("header", ["", "[::2]:80", "a:b:c", "x" * 300, "ü.com", "a.com/../b"])
def test_a_strange_host_header_leads_nowhere(header: str) -> None:
    assert host_of_header(header) == ""


# ---- locales (examples of RFC 5646 appendix A)


@pytest.mark.parametrize(
    ("tag", "written"),
    [
        ("de", "de"),
        ("DE-ch", "de-CH"),
        ("zh-hant", "zh-Hant"),
        ("zh-cmn-HANS-cn", "zh-cmn-Hans-CN"),
        ("sr-latn-rs", "sr-Latn-RS"),
        ("sl-rozaj-biske", "sl-rozaj-biske"),
        ("de-CH-1901", "de-CH-1901"),
        ("es-419", "es-419"),
        ("en-US-u-islamcal", "en-US-u-islamcal"),
        ("de-CH-x-phonebk", "de-CH-x-phonebk"),
    ],
)
def test_a_locale_has_its_usual_case(tag: str, written: str) -> None:
    assert check_locale(tag) == written
    assert check_locale(written) == written


@pytest.mark.parametrize(
    "tag",
    ["", "e", "de_DE", "a-DE", "de-419-DE", "en-", "x" * 9, "de-DE\n", "dé", "en" + "-u-ab" * 9],
)
def test_what_is_no_locale_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="BCP 47"):
        check_locale(tag)


# ---- currencies and zones


def test_currencies_have_their_decimals() -> None:
    assert [DECIMALS[code] for code in ("EUR", "JPY", "KWD", "CHF", "KRW")] == [2, 0, 3, 2, 0]
    assert all(len(code) == 3 and code.isupper() for code in DECIMALS)
    assert check_currency("EUR") == "EUR"


@pytest.mark.parametrize("code", ["", "eur", "EURO", "XXX", "XAU", "DEM", "ÄÖÜ"])
def test_what_is_no_currency_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match="ISO 4217"):
        check_currency(code)


def test_zones_are_those_of_the_database() -> None:
    assert check_zone("Europe/Berlin") == "Europe/Berlin"
    assert check_zone("UTC") == "UTC"


@pytest.mark.parametrize(
    "name", ["", "berlin", "europe/berlin", "../etc/passwd", "localtime", "+01:00"]
)
def test_what_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="IANA"):
        check_zone(name)


@pytest.mark.parametrize("header", ["127.0.0.1", "127.0.0.1:8400", "[::1]", "[::1]:8400"])
def test_this_machine_has_one_name(header: str) -> None:
    assert host_of_header(header) == "localhost"
