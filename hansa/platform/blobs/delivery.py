"""Delivery: the headers under which a stranger's bytes are safe to hand out. Pure.

What must never happen: a type that a browser runs, shown in place; or a name that adds a header.
"""

import re
from typing import Final
from urllib.parse import quote

NAME_LETTERS_MAX: Final = 200
TYPE_LETTERS_MAX: Final = 100
UNKNOWN: Final = "application/octet-stream"

# RFC 9110 section 8.3.1; of parameters only the character set, which is UTF-8.
_TYPE: Final = re.compile(
    r"(?P<type>[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+)(?:\s*;\s*charset=\"?utf-8\"?)?",
    re.IGNORECASE,
)
_SHOWN: Final = frozenset({
    "image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "text/plain",
    "audio/mpeg", "audio/ogg", "audio/wav", "audio/mp4", "video/mp4", "video/webm", "video/ogg",
})  # fmt: skip
"""What browsers show without running anything of it. Everything else is downloaded."""
_RANGE: Final = re.compile(r"bytes=(?:(?P<first>\d{1,18})-(?P<last>\d{1,18})?|-(?P<tail>\d{1,18}))")


class RangeEmpty(ValueError):
    """There is nothing in the range that was asked for."""


def check_type(text: str) -> str:
    """Return a content type in lower case; nothing becomes `application/octet-stream`. Raises
    ValueError."""
    match = _TYPE.fullmatch(text.strip()) if len(text) <= TYPE_LETTERS_MAX else None
    if text and match is None:
        raise ValueError("a content type such as image/png, in UTF-8 if it is text")
    return match["type"].lower() if match else UNKNOWN


def check_name(text: str) -> str:
    """Return a file's name without any folder. Raises ValueError."""
    name = re.split(r"[/\\]", text)[-1].strip()
    if not 1 <= len(name) <= NAME_LETTERS_MAX or name in (".", ".."):
        raise ValueError(f"a file's name of 1 to {NAME_LETTERS_MAX} letters")
    if not name.isprintable() or any(0xD800 <= ord(one) < 0xE000 for one in name):
        raise ValueError("a file's name on one line")
    return name


def headers_for(name: str, type: str, etag: str) -> list[tuple[str, str]]:
    """Return the headers of a blob's answer, apart from its length."""
    shown = type in _SHOWN
    plain = re.sub(r'[^A-Za-z0-9._ -]|"', "_", name)
    disposition = f'{"inline" if shown else "attachment"}; filename="{plain}"'
    if plain != name:  # RFC 6266 section 4.3, RFC 8187
        disposition += f"; filename*=UTF-8''{quote(name, safe='')}"
    return [
        ("content-type", f"{type}; charset=utf-8" if type.startswith("text/") else type),
        ("content-disposition", disposition),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; sandbox"),
        ("cross-origin-resource-policy", "cross-origin"),
        ("referrer-policy", "no-referrer"),
        ("accept-ranges", "bytes"),
        ("etag", etag),
        ("cache-control", "private, max-age=0, must-revalidate"),
    ]


def range_of(header: str, size: int) -> tuple[int, int] | None:
    """Return the first byte and the one behind the last of a range (RFC 9110 section 14.1.2), None
    where all is to be sent: no range, one of several parts, or one that cannot be understood.

    Raises RangeEmpty.
    """
    match = _RANGE.fullmatch(header.strip().replace(" ", ""))
    if match is None:
        return None
    if match["tail"] is not None:
        count = min(int(match["tail"]), size)
        if not count:
            raise RangeEmpty("nothing of it is asked for")
        return size - count, size
    first = int(match["first"])
    last = size - 1 if match["last"] is None else int(match["last"])
    if match["last"] is not None and last < first:
        return None
    if first >= size:
        raise RangeEmpty("it ends before")
    return first, min(last, size - 1) + 1
