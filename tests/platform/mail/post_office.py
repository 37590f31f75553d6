"""A real SMTP server, and a cell whose mail goes there."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import SMTP as POLICY
from pathlib import Path
from typing import Any

import msgspec
from aiosmtpd.smtp import SMTP as Server
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session

from hansa.assembly import OPERATOR, SERVICES, Cell, Place
from hansa.kernel.caller import SYSTEM, Caller
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.problems import Conflict
from hansa.kernel.service import Service
from hansa.platform.mail import api
from hansa.platform.sites.api import NewSite, create_site, set_setting
from hansa.platform.sites.api.settings import NewValue
from tests.platform.webhooks.office import WAIT_S, Shifted
from tests.platform.webhooks.receiver import HOST, certificate

USER, PASSWORD = "shop", "correct horse battery"
SENDER = "Täste Shop <shop@hooks.example>"
clerk = Service("clerk", owner="tests", package=__name__)


@clerk.command(needs="clerk.letters:write")
async def order(ctx: Context, to: str, fail: bool = False) -> ID:
    """Another service's command that has a mail sent."""
    id = api.queue_mail(ctx, api.Letter((to,), "Thank you", "Your order is here."))
    if fail:
        raise Conflict("after all, no")
    return id


@dataclass
class Sorter:
    """What the server does with what comes; `plan` has replies to come, by recipient or 'data'."""

    plan: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    taken: list[tuple[Envelope, EmailMessage]] = field(
        default_factory=list[tuple[Envelope, EmailMessage]]
    )
    logins: list[str] = field(default_factory=list[str])
    hang: asyncio.Event | None = None

    def _next(self, name: str) -> str | None:
        known = self.plan.get(name)
        return known.pop(0) if known else None

    async def handle_RCPT(
        self, server: Server, session: Session, envelope: Envelope, address: str, options: Any
    ) -> str:
        reply = self._next(address)
        if reply is not None:
            return reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Server, session: Session, envelope: Envelope) -> str:
        if self.hang is not None:
            await self.hang.wait()
        reply = self._next("data")
        if reply is not None:
            return reply
        content = envelope.content
        assert isinstance(content, bytes)
        made: Any = BytesParser(policy=POLICY).parsebytes(content)
        self.taken.append((envelope, made))
        return "250 2.0.0 queued"

    def authenticate(
        self, server: Server, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        right = data.login == USER.encode() and data.password == PASSWORD.encode()
        self.logins.append(mechanism)
        return AuthResult(success=right, handled=False)


class PostOffice:
    """A site that sends mail."""

    def __init__(self, cell: Cell, clock: Shifted, sorter: Sorter, port: int) -> None:
        self.cell = cell
        self.clock = clock
        self.sorter = sorter
        self.port = port
        self.runtime = cell.runtime
        self.site = ""

    async def open_site(self, *, server: bool = True, **values: Any) -> None:
        """Make the site, and have it use the server."""
        site = await self.runtime.do(create_site, OPERATOR, {"body": NewSite("shop")})
        self.site = site.id
        if server:
            await self.use_server(**values)

    async def use_server(self, **values: Any) -> None:
        """Set the site's server."""
        smtp = {
            "host": "127.0.0.1", "port": self.port, "sender": SENDER, "security": "starttls",
            "user": USER, "password": PASSWORD, **values,
        }  # fmt: skip
        await self.runtime.do(
            set_setting, OPERATOR,
            {"site": self.site, "name": "mail.smtp", "body": NewValue(smtp)},
        )  # fmt: skip

    async def run(self, operation: Any, **arguments: Any) -> Any:
        """Run an operation on the site."""
        return await self.runtime.do(operation, Caller(self.site, SYSTEM), arguments)

    async def send(self, *to: str, **values: Any) -> str:
        """Send a letter; return its message's id."""
        body = msgspec.structs.replace(api.Letter(to, "Hello", "Here it is."), **values)
        return str((await self.run(api.send_mail, body=body)).id)

    async def seen(self, id: str) -> api.MessageSeen:
        """Return a message."""
        found: api.MessageSeen = await self.run(api.get_message, id=id)
        return found

    async def later(self, seconds: float) -> None:
        """Put the clock forward."""
        self.clock.ahead_s += seconds
        self.runtime.due.wake()

    async def until(self, check: Callable[[], Awaitable[Any]]) -> Any:
        """Return what a check finds, as soon as it finds something."""
        async with asyncio.timeout(WAIT_S):
            while not (found := await check()):
                self.runtime.due.wake()
                await asyncio.to_thread(int)
            return found

    async def until_state(self, id: str, state: str, tries: int = 1) -> api.MessageSeen:
        """Return a message when it is in a state, after so many tries."""

        async def holds() -> Any:
            found = await self.seen(id)
            right = found.message.state == state and found.message.tries == tries
            return found if right else None

        try:
            found: api.MessageSeen = await self.until(holds)
        except TimeoutError:
            raise AssertionError(f"{await self.seen(id)} is not {state}, {tries}") from None
        return found


@asynccontextmanager
async def opened(place: Place, *, tls_first: bool = False) -> AsyncIterator[PostOffice]:
    """Open a cell with a post office on it, and close it."""
    clock, sorter = Shifted(), Sorter()
    pem, key = certificate(Path(place.folder), "127.0.0.1")
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(pem, key)
    loop = asyncio.get_running_loop()

    def protocol() -> Server:
        return Server(
            sorter, hostname=HOST, authenticator=sorter.authenticate, loop=loop,
            tls_context=None if tls_first else served, require_starttls=not tls_first,
            auth_require_tls=not tls_first, enable_SMTPUTF8=False,
        )  # fmt: skip

    server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=served if tls_first else None)
    cell = Cell(
        place, services=(*SERVICES, clerk), as_if_remote=True, clock=clock,
        mail_tls=ssl.create_default_context(cafile=str(pem)),
    )  # fmt: skip
    await cell.open()
    try:
        port = server.sockets[0].getsockname()[1]
        yield PostOffice(cell, clock, sorter, port)
    finally:
        await cell.close()
        server.close()
