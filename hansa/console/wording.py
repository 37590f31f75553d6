"""Wording: how instants, amounts of time and of bytes, and JSON read on a page. Pure."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from markupsafe import Markup

from hansa.kernel import codec

_STEPS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
TEXT_MAX: Final = 20_000
LINE_MAX: Final = 300


def span(us: int) -> str:
    """Return an amount of time in its largest unit: ``12 min``, ``840 ms``."""
    seconds = us / 1_000_000
    for size, unit in _STEPS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{us / 1_000:.0f} ms" if us >= 10_000 else f"{us / 1_000:.2f} ms"


def instant(at_us: int) -> str:
    """Return an instant in UTC to the second."""
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def when(at_us: int | None, now_us: int) -> Markup:
    """Return how long ago an instant was, or how soon it comes, with the instant itself."""
    if not at_us:
        return Markup("–")
    apart = at_us - now_us
    if abs(apart) < 1_000_000:
        told = "now"
    else:
        told = f"in {span(apart)}" if apart > 0 else f"{span(-apart)} ago"
    full = instant(at_us)
    return Markup('<time datetime="{}Z" title="{} UTC">{}</time>').format(
        full.replace(" ", "T"), full, told
    )


def moment(at: datetime, now_us: int) -> Markup:
    """Return `when` of an aware datetime."""
    return when(int(at.timestamp() * 1_000_000), now_us)


def count(number: int) -> str:
    """Return a whole number with its thousands apart."""
    return f"{number:,}".replace(",", "\u202f")


def upto(number: int, most: int) -> str:
    """Return a count that was given up above `most`."""
    return count(number) if number <= most else f"{count(most)}+"


def size(bytes_: int) -> str:
    """Return an amount of bytes: ``3.4 MiB``."""
    amount = float(bytes_)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def pretty(data: Any) -> str:
    """Return JSON, or what is to be JSON, indented; bytes that are none as they read."""
    try:
        text = data if isinstance(data, bytes) else msgspec.json.encode(data, enc_hook=str)
        shown = msgspec.json.format(text, indent=2).decode()
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError):
        shown = data.decode(errors="replace") if isinstance(data, bytes) else str(data)
    return shown if len(shown) <= TEXT_MAX else shown[:TEXT_MAX] + "\n… (cut)"


def pretty_text(text: str) -> str:
    """Return text that is JSON indented, any other as it is."""
    return pretty(text.encode())


def trace_of(parent: str) -> str:
    """Return the trace of a traceparent (W3C Trace Context, section 3.2.2), "" of another text."""
    parts = parent.split("-")
    return parts[1] if len(parts) == 4 and len(parts[1]) == 32 else ""


def json(value: Any) -> str:
    """Return a value as JSON in one line, cut where it is long."""
    shown = codec.encode(value).decode()
    return shown if len(shown) <= LINE_MAX else shown[:LINE_MAX] + "…"


def last_line(error: str) -> str:
    """Return the last line of a traceback: what went wrong."""
    lines = error.strip().splitlines()
    return lines[-1] if lines else ""


def plural(number: int, one: str, many: str = "") -> str:
    """Return a count with its noun: ``1 event``, ``3 events``."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"
