"""Locales: language tags as sites and visitors write them, ``de-CH``.

Source: RFC 5646 (BCP 47) section 2.1, the grammar of a well-formed tag, and 2.1.1, its case.
"""

import re
from typing import Final

LENGTH_MAX: Final = 35
"""The length that RFC 5646 section 4.4.1 asks software to allow at least."""

_TAG: Final = re.compile(
    r"(?P<language>[a-z]{2,3}(?:-[a-z]{3}){0,3}|[a-z]{4,8})"
    r"(?:-(?P<script>[a-z]{4}))?"
    r"(?:-(?P<region>[a-z]{2}|[0-9]{3}))?"
    r"(?P<variants>(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*)"
    r"(?P<extensions>(?:-[a-wy-z0-9](?:-[a-z0-9]{2,8})+)*)"
    r"(?P<private>-x(?:-[a-z0-9]{1,8})+)?"
)


def check_locale(tag: str) -> str:
    """Return a well-formed language tag in its usual case, ``zh-hant-tw`` as ``zh-Hant-TW``.

    Raises ValueError for anything else. Whether such a language exists is not asked.
    """
    lower = tag.lower() if tag.isascii() else ""
    match = _TAG.fullmatch(lower) if len(tag) <= LENGTH_MAX else None
    if match is None:
        raise ValueError(f"{tag[:40]!r} is not a language tag of BCP 47, such as en or de-CH")
    script, region = match["script"], match["region"]
    return (
        match["language"]
        + (f"-{script.title()}" if script else "")
        + (f"-{region.upper()}" if region else "")
        + match["variants"]
        + match["extensions"]
        + (match["private"] or "")
    )
