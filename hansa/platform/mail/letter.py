"""Letter: what is sent to whom, checked and composed as RFC 5322 and RFC 2045 have it. Pure.

What must never happen: a value that becomes two headers or two recipients, or the same letter
composed into other bytes at its second try.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from hashlib import blake2b
from typing import Final

import idna

from hansa.kernel.structs import Struct

RECIPIENTS_MAX: Final = 50
HEADERS_MAX: Final = 20
SUBJECT_LETTERS_MAX: Final = 250
NAME_LETTERS_MAX: Final = 100
HEADER_LETTERS_MAX: Final = 900
BODY_LETTERS_MAX: Final = 400_000
"""Of the text and of the HTML each; an answer to `get_message` stays within the answer's limit."""

# RFC 5321 section 4.1.2, without quoted local parts, which no service gives out.
_LOCAL: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_NAMED: Final = re.compile(r"\s*(?P<name>[^<>]*?)\s*<(?P<address>[^<>]+)>\s*")
_HEADER: Final = re.compile(r"X-[A-Za-z0-9-]{1,70}")
_ALLOWED: Final = frozenset({
    "list-unsubscribe", "list-unsubscribe-post", "list-id", "in-reply-to", "references",
    "auto-submitted", "precedence",
})  # fmt: skip


class Letter(Struct):
    """A mail to be sent. Addresses may carry a name, as ``Ann <ann@shop.example>``.

    It needs `text` or `html`; `headers` are `X-...` and those about lists, threads and automation.
    """

    to: tuple[str, ...]
    subject: str
    text: str = ""
    html: str = ""
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    reply_to: str = ""
    headers: dict[str, str] = {}


def check_line(text: str, letters: int) -> str:
    """Return a text for a header. Raises ValueError for one that is long or has control letters."""
    if len(text) > letters or any(ord(one) < 32 or 127 <= ord(one) < 160 for one in text):
        raise ValueError(f"at most {letters} letters on one line")
    if any(one in "\u2028\u2029" or 0xD800 <= ord(one) < 0xE000 for one in text):
        raise ValueError("a text on one line")
    return text


def check_address(text: str) -> str:
    """Return an address with its domain in ASCII: ``Ann <ann@shop.example>``. Raises ValueError."""
    check_line(text, 400)
    named = _NAMED.fullmatch(text)
    name, address = (named["name"], named["address"]) if named else ("", text.strip())
    local, _, domain = address.rpartition("@")
    if len(local) > 64 or _LOCAL.fullmatch(local) is None:
        raise ValueError("an address such as ann@shop.example")
    if len(name) > NAME_LETTERS_MAX:
        raise ValueError(f"a name of at most {NAME_LETTERS_MAX} letters")
    try:
        domain = idna.encode(domain, uts46=True).decode().lower()
    except idna.IDNAError:
        raise ValueError("an address whose domain is the name of a host") from None
    if "." not in domain and domain != "localhost":
        raise ValueError("an address whose domain is a full name")
    name = name.strip('" ')
    return f"{name} <{local}@{domain}>" if name else f"{local}@{domain}"


def address_of(checked: str) -> str:
    """Return the bare address of one that `check_address` returned."""
    return checked.rpartition("<")[2].rstrip(">")


def recipients_of(letter: Letter) -> list[str]:
    """Return the bare addresses of all recipients, each once."""
    everybody = (*letter.to, *letter.cc, *letter.bcc)
    return list(dict.fromkeys(address_of(one) for one in everybody))


def check_header(name: str, value: str) -> str:
    """Return the value of a header that may be set. Raises ValueError."""
    if _HEADER.fullmatch(name) is None and name.lower() not in _ALLOWED:
        raise ValueError(f"{name[:80]!r} cannot be set; X- and those of lists and threads can")
    return check_line(value, HEADER_LETTERS_MAX)


def check_body(text: str) -> str:
    """Return a body. Raises ValueError for one that is long, or no Unicode."""
    if len(text) > BODY_LETTERS_MAX:
        raise ValueError(f"at most {BODY_LETTERS_MAX} letters")
    if "\0" in text or any(0xD800 <= ord(one) < 0xE000 for one in text):
        raise ValueError("a text without NUL and lone surrogates")
    return text


def message_id(id: str, sender: str) -> str:
    """Return the Message-ID of a letter, the same at every try (RFC 5322 section 3.6.4)."""
    return f"<{id}@{address_of(sender).rpartition('@')[2]}>"


def compose(letter: Letter, id: str, sender: str, at: datetime) -> bytes:
    """Return a checked letter as it goes over the wire; the same values give the same bytes."""
    made = EmailMessage(policy=SMTP)
    made["From"] = _address(sender)
    made["To"] = [_address(one) for one in letter.to] or "undisclosed-recipients:;"
    if letter.cc:
        made["Cc"] = [_address(one) for one in letter.cc]
    if letter.reply_to:
        made["Reply-To"] = _address(letter.reply_to)
    made["Subject"] = letter.subject
    made["Date"] = at
    made["Message-ID"] = message_id(id, sender)
    for name, value in letter.headers.items():
        made[name] = value
    if letter.text or not letter.html:
        made.set_content(letter.text, cte="quoted-printable")
        if letter.html:
            made.add_alternative(letter.html, subtype="html", cte="quoted-printable")
    else:
        made.set_content(letter.html, subtype="html", cte="quoted-printable")
    if made.is_multipart():
        made.set_boundary("=_" + blake2b(id.encode(), digest_size=18).hexdigest())
    return made.as_bytes()


def _address(checked: str) -> Address:
    name, _, bare = checked.rpartition("<")
    return Address(display_name=name.strip(), addr_spec=bare.rstrip(">"))


# ---- answers


def reply_state(code: int) -> str:
    """Tell what a reply means (RFC 5321 section 4.2.1): taken, for good not, or not now."""
    if 200 <= code < 300:
        return "sent"
    return "bounced" if 500 <= code < 600 else "waiting"


WAITS_S: Final[Sequence[int]] = (60, 300, 900, 3_600, 3 * 3_600, 6 * 3_600, 12 * 3_600, 24 * 3_600)
"""Before each further try; together two days, less than what most servers wait themselves."""
