"""Carrying: one letter over SMTP to a server, with what it said of each recipient.

TLS is asked for and checked, or not used at all: nothing falls back. It takes 45 s at most.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Final, Literal
from urllib.parse import unquote, urlsplit

import aiosmtplib
from msgspec import Meta

from hansa.kernel.structs import Secret, Struct
from hansa.platform.mail.letter import address_of, check_address

TIMEOUT_S: Final = 45.0
REPLY_LETTERS_MAX: Final = 300
_NOT_LET_IN: Final = frozenset({530, 534, 535, 538})
"""The server wants TLS or another password (RFC 4954): that is for the operator to set right, and
no reason to give a letter up."""


class Smtp(Struct):
    """A server that takes a site's mail: `tls` from the first byte (port 465), `starttls` before
    anything else (port 587), or `none`, which takes no password."""

    host: Annotated[str, Meta(min_length=1, max_length=253)]
    sender: Annotated[str, Meta(min_length=3, max_length=400)]
    port: Annotated[int, Meta(ge=1, le=65_535)] = 587
    security: Literal["tls", "starttls", "none"] = "starttls"
    user: Annotated[str, Meta(max_length=300)] = ""
    password: Secret = Secret("")

    def __post_init__(self) -> None:
        check_address(self.sender)
        if self.security == "none" and self.user:
            raise ValueError("a password needs tls or starttls")


class Reply(Struct):
    """What a server said about a recipient: its code (RFC 5321), 0 where it could not be asked."""

    address: str
    code: int
    text: str


class Outcome(Struct):
    """What became of a try. `kept` says that there is no server, so the mailbox has it."""

    replies: tuple[Reply, ...]
    kept: bool = False


SettingOf = Callable[[str], Awaitable[Smtp | None]]


class Mailer:
    """Carries letters. A process has one, among the resources of its actions."""

    def __init__(
        self,
        server_of: SettingOf,
        default: Smtp | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """`server_of` tells a site's own server; `default` takes the mail of sites without
        one. With neither, letters stay in the mailbox."""
        self._server_of = server_of
        self._default = default
        self._tls = tls
        self._timeout_s = timeout_s

    async def server(self, site: str) -> Smtp | None:
        """Return the server that takes a site's mail, None for the mailbox."""
        return await self._server_of(site) or self._default

    async def carry(self, server: Smtp, recipients: Sequence[str], data: bytes) -> Outcome:
        """Send a letter; what goes wrong is told per recipient, never raised."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._send(server, recipients, data)
        except TimeoutError:
            return _all(recipients, 0, f"no answer within {self._timeout_s:g} s")
        except aiosmtplib.SMTPRecipientsRefused as refused:
            return Outcome(tuple(
                Reply(one.recipient, one.code, one.message[:REPLY_LETTERS_MAX])
                for one in refused.recipients
            ))  # fmt: skip
        except (aiosmtplib.SMTPSenderRefused, aiosmtplib.SMTPDataError) as refused:
            code = 0 if refused.code in _NOT_LET_IN else refused.code
            return _all(recipients, code, refused.message)
        except (aiosmtplib.SMTPException, OSError) as error:
            # Before the letter itself was offered: never its fault, so it is tried again.
            return _all(recipients, 0, f"{type(error).__name__}: {error}")

    async def _send(self, server: Smtp, recipients: Sequence[str], data: bytes) -> Outcome:
        smtp = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.user or None,
            password=server.password or None,
            use_tls=server.security == "tls",
            start_tls=server.security == "starttls",
            tls_context=self._tls,
            timeout=self._timeout_s,
        )
        async with smtp:
            sender = address_of(check_address(server.sender))
            refused, text = await smtp.sendmail(sender, list(recipients), data)
        return Outcome(tuple(
            Reply(one, *_told(refused[one])) if one in refused else Reply(one, 250, text[:100])
            for one in recipients
        ))  # fmt: skip


def _told(response: tuple[int, str]) -> tuple[int, str]:
    return response[0], response[1][:REPLY_LETTERS_MAX]


def _all(recipients: Sequence[str], code: int, text: str) -> Outcome:
    return Outcome(tuple(Reply(one, code, text[:REPLY_LETTERS_MAX]) for one in recipients))


def parse_server(url: str) -> Smtp | None:
    """Return the operator's server from ``smtps://user:password@host:465?from=a@b.example`` (`smtp`
    means STARTTLS, `smtp+plain` none); None for an empty text. Raises ValueError, without the
    text."""
    if not url:
        return None
    parts = urlsplit(url)
    security = {"smtps": "tls", "smtp": "starttls", "smtp+plain": "none"}.get(parts.scheme)
    sender = unquote(parts.query.removeprefix("from="))
    if security is None or not parts.hostname or not parts.query.startswith("from="):
        raise ValueError("a mail server is smtps://user:password@host:465?from=shop@a.example")
    return Smtp(
        parts.hostname,
        sender,
        parts.port or (465 if security == "tls" else 587),
        security,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        unquote(parts.username or ""),
        Secret(unquote(parts.password or "")),
    )
