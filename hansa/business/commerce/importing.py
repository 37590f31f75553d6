"""Importing: lines of a catalogue file as products. Pure: a line in, a product or a fault out.

Two forms: our own (`NewProduct` as JSON, one a line), and that of the Icecat catalogue as published
with querqy's chorus project, whose attributes are `attr_t_*` texts, `attr_n_*` numbers and
`attr_b_*` truth values.
"""

import re
import unicodedata
from typing import Any, Final

import msgspec

from hansa.business.commerce.catalogue import NewProduct, NewVariant
from hansa.kernel import codec
from hansa.kernel.structs import Money, Struct

LINE_BYTES_MAX: Final = 1 << 20
BATCH_MAX: Final = 200
TITLE_MAX: Final = 500
_KEPT: Final = ("supplier", "short_description", "ean", "date_released", "img_500x500", "img_high")


class LineFault(Struct):
    """A line that is no product: its number, from 1, and what is wrong with it."""

    line: int
    detail: str


def parse(number: int, line: bytes, currency: str, stock: int) -> NewProduct | LineFault:
    """Return the product on a line. `currency` and `stock` are for lines that do not say."""
    if len(line) > LINE_BYTES_MAX:
        return LineFault(number, f"longer than {LINE_BYTES_MAX} bytes")
    try:
        row: Any = msgspec.json.decode(line)
        if not isinstance(row, dict):
            return LineFault(number, "a line is a JSON object")
        if "handle" in row:
            return codec.decode(line, NewProduct)  # type: ignore[no-any-return]
        return _icecat(row, currency, stock)
    except (msgspec.MsgspecError, ValueError, KeyError, TypeError, RecursionError) as error:
        return LineFault(number, f"{type(error).__name__}: {error}")


def _icecat(row: dict[str, Any], currency: str, stock: int) -> NewProduct:
    identity = str(row["id"])
    title = str(row["title"]).strip()
    attributes: dict[str, Any] = {}
    for name, value in row.items():
        if name.startswith("attr_"):
            plain = name[7:]  # without the letter of its kind, unless there are two of the name
            attributes[plain if plain and plain not in attributes else name[5:]] = value
        elif name in _KEPT and value is not None:
            attributes[name] = ", ".join(value) if isinstance(value, list) else value
    variant = NewVariant(identity, Money(int(row.get("price") or 0), currency), "", stock)
    product = NewProduct(
        f"{slug(title)[:100].strip('-')}-{slug(identity)}".strip("-"),
        title[:TITLE_MAX],
        (variant,),
        attributes=attributes,
    )
    # Built by hand, so its limits are checked once more.
    return codec.convert(msgspec.to_builtins(product), NewProduct)  # type: ignore[no-any-return]


def slug(text: str) -> str:
    """Return a text in the letters of a handle: ASCII, lower-case, words joined by hyphens."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
