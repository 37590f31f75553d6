"""Origin: from where a form comes, and how its browser is connected. Pure.

What must never happen here: a form of another website that is taken for one of ours.
"""

from collections.abc import Mapping


def is_from_here(headers: Mapping[str, str]) -> bool:
    """Tell whether a browser says that a request comes from a page of the same origin.

    By Sec-Fetch-Site (W3C Fetch Metadata, section 2.4) where it is sent, else by Origin (RFC 6454
    section 7); every browser sends one of them with a form. `headers` have lower-case names.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    scheme, _, host = headers.get("origin", "").partition("://")
    return scheme in ("http", "https") and bool(host) and host == headers.get("host", "")


def is_secure(scheme: str, headers: Mapping[str, str]) -> bool:
    """Tell whether the browser speaks TLS, to us or to what stands before us."""
    return "https" in (scheme, headers.get("x-forwarded-proto", ""))
